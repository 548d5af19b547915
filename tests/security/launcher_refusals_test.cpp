// SPDX-License-Identifier: Apache-2.0
#include "fault/launcher_world.hpp"

#include "base/clock.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;
using launch::reason;

namespace {

struct sealed_bytes {
  std::vector<std::uint8_t> order, seal, spec;
};

sealed_bytes encode(const launcher_world& world, wish w) {
  sealed_bytes out;
  out.spec = auth::encode_exec_spec(w.spec).value();
  w.order.spec_digest = auth::exec_spec_digest(out.spec);
  out.order = auth::encode_order(w.order).value();
  out.seal = world.seal(out.order);
  return out;
}

reason refused_as(launcher_world& world, const sealed_bytes& bytes) {
  return world.refusal_with(world.send_raw(bytes.order, bytes.seal, bytes.spec)).what.why;
}

/// Nothing that was refused left a trace: a proper order still runs.
void still_serves(launcher_world& world) {
  CHECK(world.run(world.shell("exit 3")).exit_code == 3);
}

/// A bare connection, to send what no client would.
class raw_peer {
public:
  explicit raw_peer(const launcher_world& world) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto path = world.socket();
    std::memcpy(address.sun_path, path.data(), path.size());
    fd_ = unique_fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    REQUIRE(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }

  void hello(byte_view keyring, std::uint32_t version = launch::protocol_version) {
    launch::header head{launch::kind::hello};
    launch::hello body;
    body.version = version;
    std::vector<std::uint8_t> out(sizeof head + sizeof body);
    std::memcpy(out.data(), &head, sizeof head);
    std::memcpy(out.data() + sizeof head, &body, sizeof body);
    out.insert(out.end(), keyring.begin(), keyring.end());
    send(out);
  }

  void batch(int fd, std::uint64_t bytes) {
    launch::header head{launch::kind::launch};
    launch::launch_batch body{1, bytes};
    std::vector<std::uint8_t> out(sizeof head + sizeof body);
    std::memcpy(out.data(), &head, sizeof head);
    std::memcpy(out.data() + sizeof head, &body, sizeof body);
    send(out, fd);
  }

  void send(const std::vector<std::uint8_t>& bytes, int passed = -1) {
    iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (passed >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      auto* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(c), &passed, sizeof passed);
    }
    REQUIRE(::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }

  /// The reason of the next refusal; other messages are passed over.
  reason next_refusal(std::string* text = nullptr) {
    for (;;) {
      std::uint8_t bytes[launch::datagram_bytes_max];
      auto got = ::recv(fd_.get(), bytes, sizeof bytes, 0);
      REQUIRE(got > 0);
      launch::header head;
      std::memcpy(&head, bytes, sizeof head);
      if (head.what != launch::kind::refusal)
        continue;
      launch::refusal body;
      std::memcpy(&body, bytes + sizeof head, sizeof body);
      constexpr auto fixed = sizeof head + sizeof body;
      if (text != nullptr)
        *text = std::string{reinterpret_cast<char*>(bytes) + fixed,
                            static_cast<std::size_t>(got) - fixed};
      return body.why;
    }
  }

private:
  unique_fd fd_;
};

unique_fd memfd_of(byte_view bytes, int seals) {
  unique_fd fd{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}

} // namespace

TEST_CASE("an order for another cluster, node or instance is refused") {
  launcher_world world;
  auto w = world.job({"true"});
  w.order.node_id = 5;
  CHECK(world.refusal_of(w).what.why == reason::wrong_node);
  w = world.job({"true"});
  w.order.instance[3] ^= 1;
  CHECK(world.refusal_of(w).what.why == reason::wrong_instance);
  w = world.job({"true"});
  w.order.cluster_id[0] ^= 1;
  CHECK(world.refusal_of(w).what.why == reason::wrong_cluster);
  still_serves(world);
}

TEST_CASE("an order that has expired, or is of the future, is refused; 5 s of skew are tolerated") {
  launcher_world world;
  auto shifted = [&](std::int64_t by_s) {
    auto w = world.job({"true"});
    w.order.issued_ns += by_s * ns_per_s;
    w.order.expires_ns += by_s * ns_per_s;
    return w;
  };
  CHECK(world.refusal_of(shifted(-37)).what.why == reason::expired);
  CHECK(world.refusal_of(shifted(8)).what.why == reason::expired);
  CHECK(world.run(shifted(-32)).exit_code == 0);
  CHECK(world.run(shifted(3)).exit_code == 0);
}

TEST_CASE("an element that was ordered before is refused, also in another chunk") {
  launcher_world world;
  auto single = world.job({"true"});
  world.run(single);
  CHECK(world.refusal_of(single).what.why == reason::repeated);
  auto array = world.job({"true"});
  launcher_world::make_array(array, 10, 10, 2);
  world.send(array);
  world.end_of(array, 19);
  for (auto [first, count] : {std::pair{10U, 10U}, {19U, 5U}, {5U, 6U}, {0U, 100U}, {12U, 1U}}) {
    launcher_world::make_array(array, first, count, 2);
    CHECK(world.refusal_of(array).what.why == reason::repeated);
  }
  launcher_world::make_array(array, 20, 5, 2);
  world.run(array);
}

TEST_CASE("a second, different order for one incarnation is refused") {
  launcher_world world;
  auto w = world.shell("exit 1");
  launcher_world::make_array(w, 0, 2, 1);
  world.send(w);
  auto other = w;
  other.spec.argv = {"/bin/sh", "-c", "exit 2"};
  launcher_world::make_array(other, 2, 2, 1);
  CHECK(world.refusal_of(other).what.why == reason::repeated);
  other.order.incarnation = 1;
  CHECK(world.run(other).exit_code == 2);
}

TEST_CASE("one byte changed in arguments, environment, directory, files or script is refused") {
  launcher_world world;
  auto w = world.job({"/bin/echo", "argument-here"});
  w.spec.script = "#!/bin/sh\necho script-here\n";
  w.spec.cwd = "/cwd-here";
  w.spec.stdin_path = "/stdin-here";
  w.spec.stdout_path = "stdout-here";
  w.spec.stderr_path = "stderr-here";
  w.spec.env = {"VARIABLE=value-here"};
  for (std::string_view part : {"argument-here", "script-here", "/cwd-here", "/stdin-here",
                                "stdout-here", "stderr-here", "VARIABLE=value-here"}) {
    auto bytes = encode(world, w);
    auto at = std::search(bytes.spec.begin(), bytes.spec.end(), part.begin(), part.end());
    REQUIRE(at != bytes.spec.end());
    *(at + 3) ^= 1;
    INFO(part);
    CHECK(refused_as(world, bytes) == reason::wrong_spec);
  }
  still_serves(world);
}

TEST_CASE("any bit changed in an order or its seal is refused") {
  launcher_world world;
  auto good = encode(world, world.job({"true"}));
  std::size_t step = 0;
  for (std::size_t at = 0; at < good.order.size(); at += 1 + step++ % 7) {
    auto bytes = good;
    bytes.order[at] ^= static_cast<std::uint8_t>(1U << at % 8);
    auto why = refused_as(world, bytes);
    CHECK((why == reason::signature || why == reason::malformed));
  }
  for (std::size_t at = 0; at < good.seal.size(); ++at) {
    auto bytes = good;
    bytes.seal[at] ^= static_cast<std::uint8_t>(1U << at % 8);
    auto why = refused_as(world, bytes);
    CHECK((why == reason::signature || why == reason::malformed || why == reason::unknown_key));
  }
  CHECK(world.records.empty());
  still_serves(world);
}

TEST_CASE("orders and seals that are cut short or a byte longer are refused") {
  launcher_world world;
  auto good = encode(world, world.job({"true"}));
  for (auto* part : {&good.order, &good.seal, &good.spec}) {
    auto saved = *part;
    part->pop_back();
    CHECK(refused_as(world, good) == reason::malformed);
    *part = saved;
    part->push_back(0);
    CHECK(refused_as(world, good) == reason::malformed);
    *part = saved;
  }
  still_serves(world);
}

TEST_CASE("a forged signature, another key and another domain are refused") {
  launcher_world world;
  auto good = encode(world, world.job({"true"}));
  auto stranger = auth::key_pair::generate();
  auto seal_with = [&](std::string_view domain, std::uint32_t key_id, const auth::key_pair& key) {
    auto bytes = good;
    bytes.seal = auth::seal_one(domain, key_id, key.secret().view(), good.order).value();
    return bytes;
  };
  CHECK(refused_as(world, seal_with(auth::domain::order, 7, stranger)) == reason::signature);
  CHECK(refused_as(world, seal_with(auth::domain::warrant, 7, world.signer())) ==
        reason::signature);
  CHECK(refused_as(world, seal_with(auth::domain::order, 8, world.signer())) ==
        reason::unknown_key);
  CHECK(refused_as(world, seal_with(auth::domain::order, 0, world.signer())) ==
        reason::unknown_key);
  // Non-canonical: S + L verifies with a careless verifier.
  static constexpr std::uint8_t group_order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                                   0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                                   0,    0,    0,    0,    0,    0,    0,    0,
                                                   0,    0,    0,    0,    0,    0,    0,    0x10};
  auto bytes = good;
  unsigned carry = 0;
  auto* s = bytes.seal.data() + bytes.seal.size() - 32;
  for (int i = 0; i < 32; ++i) {
    carry += s[i] + group_order[i];
    s[i] = static_cast<std::uint8_t>(carry);
    carry >>= 8;
  }
  CHECK(refused_as(world, bytes) == reason::signature);
  still_serves(world);
}

TEST_CASE("a private launcher runs nothing as another user") {
  launcher_world world;
  auto w = world.job({"true"});
  w.order.uid = ::geteuid() + 1;
  CHECK(world.refusal_of(w).what.why == reason::identity);
}

TEST_CASE("a batch outside a fully sealed memfd of its exact size is refused") {
  launcher_world world;
  world.disconnect();
  raw_peer peer{world};
  peer.hello(world.keyring());
  std::vector<std::uint8_t> bytes(64, 0);
  constexpr int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  std::string text;
  for (int seals : {0, F_SEAL_WRITE, all & ~F_SEAL_WRITE, all & ~F_SEAL_SHRINK, all & ~F_SEAL_GROW,
                    all & ~F_SEAL_SEAL}) {
    auto fd = memfd_of(bytes, seals);
    peer.batch(fd.get(), bytes.size());
    CHECK(peer.next_refusal(&text) == reason::malformed);
    CHECK(text.find("not sealed") != std::string::npos);
  }
  auto sealed = memfd_of(bytes, all);
  peer.batch(sealed.get(), bytes.size() - 1);
  CHECK(peer.next_refusal(&text) == reason::malformed);
  CHECK(text.find("not as long") != std::string::npos);
  peer.batch(sealed.get(), bytes.size());
  CHECK(peer.next_refusal(&text) == reason::malformed);
  CHECK(text.find("magic") != std::string::npos);
  peer.batch(-1, bytes.size());
  CHECK(peer.next_refusal() == reason::malformed);
  unique_fd file{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  peer.batch(file.get(), bytes.size());
  CHECK(peer.next_refusal() == reason::malformed);
  std::vector<std::uint8_t> large(launch::batch_bytes_max + 1, 0);
  auto too_large = memfd_of(large, all);
  peer.batch(too_large.get(), large.size());
  CHECK(peer.next_refusal(&text) == reason::malformed);
  CHECK(text.find("8 MiB") != std::string::npos);
}

TEST_CASE("batches whose counts and lengths do not agree are refused whole") {
  launcher_world world;
  auto good = encode(world, world.job({"true"}));
  world.disconnect();
  raw_peer peer{world};
  peer.hello(world.keyring());
  constexpr int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  auto send_batch = [&](std::uint32_t orders, std::uint32_t order_length, std::uint32_t specs,
                        bool extra) {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(good.order.size() + good.seal.size() + good.spec.size() + 64);
    auto number = [&](std::uint32_t value) {
      std::uint8_t le[4];
      store_le(le, value);
      bytes.insert(bytes.end(), le, le + 4);
    };
    number(launch::batch_magic);
    number(orders);
    number(order_length);
    number(static_cast<std::uint32_t>(good.seal.size()));
    number(0);
    bytes.insert(bytes.end(), good.order.begin(), good.order.end());
    bytes.insert(bytes.end(), good.seal.begin(), good.seal.end());
    number(specs);
    number(static_cast<std::uint32_t>(good.spec.size()));
    bytes.insert(bytes.end(), good.spec.begin(), good.spec.end());
    if (extra)
      bytes.push_back(0);
    auto fd = memfd_of(bytes, all);
    peer.batch(fd.get(), bytes.size());
  };
  auto length = static_cast<std::uint32_t>(good.order.size());
  send_batch(0, length, 1, false);
  CHECK(peer.next_refusal() == reason::malformed);
  send_batch(0xffffffff, length, 1, false);
  CHECK(peer.next_refusal() == reason::malformed);
  send_batch(2, length, 1, false);
  CHECK(peer.next_refusal() == reason::malformed);
  send_batch(1, 0xfffffff0, 1, false);
  CHECK(peer.next_refusal() == reason::malformed);
  send_batch(1, length, 2, false);
  CHECK(peer.next_refusal() == reason::malformed);
  send_batch(1, length, 1, true);
  CHECK(peer.next_refusal() == reason::malformed);
  send_batch(1, length, 0, false);
  CHECK(peer.next_refusal() == reason::malformed);
}

TEST_CASE("a peer that sends nonsense is answered, and the next one is served") {
  launcher_world world;
  world.disconnect();
  {
    raw_peer peer{world};
    peer.send({1});
    CHECK(peer.next_refusal() == reason::malformed);
    peer.batch(-1, 10);
    CHECK(peer.next_refusal() == reason::not_connected);
    peer.hello(world.keyring(), 2);
    CHECK(peer.next_refusal() == reason::unsupported);
    peer.hello(world.keyring());
    peer.send({99, 0, 0, 0, 0, 0, 0, 0});
    CHECK(peer.next_refusal() == reason::malformed);
    peer.send({6, 0, 0, 0, 0, 0, 0, 0, 1});
    CHECK(peer.next_refusal() == reason::malformed);
    peer.send(std::vector<std::uint8_t>(20'000, 1));
    CHECK(peer.next_refusal() == reason::malformed);
  }
  world.connect();
  still_serves(world);
}

TEST_CASE("a keyring of another root, of another cluster, altered or older is refused") {
  launcher_world world;
  auto newer = world.make_keyring(5);
  world.disconnect();
  auto offer = [&](const std::vector<std::uint8_t>& keyring) {
    return launch::launcher_client::connect(world.socket(), keyring, 10s);
  };
  {
    auto accepted = offer(newer);
    REQUIRE(accepted);
    CHECK(accepted->launcher().launcher.keyring_version == 5);
  }
  auto altered = newer;
  altered[40] ^= 1;
  std::vector<std::uint8_t> shorter = newer;
  shorter.pop_back();
  for (const auto& bad :
       {world.make_keyring(4), altered, shorter, std::vector<std::uint8_t>{1, 2, 3}}) {
    auto answer = offer(bad);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == errc::refused);
  }
  world.kill_launcher();
  world.start();
  REQUIRE(eventually([&] {
    auto answer = offer(world.make_keyring(4));
    return !answer && answer.error().code == errc::refused;
  }));
  CHECK(offer({})); // it kept the newest itself
}

TEST_CASE("a second connection is refused while the first lives") {
  launcher_world world;
  auto second = launch::launcher_client::connect(world.socket(), world.keyring(), 10s);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == errc::refused);
  CHECK(second.error().text.find("already has a peer") != std::string::npos);
  still_serves(world);
}

TEST_CASE("the socket and the state belong to the owner alone") {
  launcher_world world;
  struct stat info {};
  REQUIRE(::stat(world.socket().c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  for (const char* file : {"/state/trust", "/state/keyring", "/state/orders", "/state/running"}) {
    INFO(file);
    REQUIRE(::stat((world.folder() + file).c_str(), &info) == 0);
    CHECK((info.st_mode & 077) == 0);
  }
  REQUIRE(::stat((world.folder() + "/state").c_str(), &info) == 0);
  CHECK((info.st_mode & 077) == 0);
}

TEST_CASE("orders accepted and refused stand in a chain that shows what was changed") {
  launcher_world world;
  auto w = world.job({"true"});
  world.run(w);
  CHECK(world.refusal_of(w).what.why == reason::repeated);
  world.kill_launcher();
  world.start();
  world.connect();
  world.run(world.job({"true"}));
  auto bytes = read_file(world.folder() + "/state/orders");
  constexpr std::size_t record_bytes = 120;
  REQUIRE(bytes.size() == 3 * record_bytes);
  std::uint8_t previous[32] = {};
  std::vector<std::uint32_t> reasons;
  for (std::size_t at = 0; at < bytes.size(); at += record_bytes) {
    const auto* record = reinterpret_cast<const std::uint8_t*>(bytes.data()) + at;
    static constexpr char key[] = "troupe/order-chain/v1";
    std::uint8_t hash[32];
    crypto_generichash_blake2b_state state;
    crypto_generichash_blake2b_init(&state, reinterpret_cast<const unsigned char*>(key),
                                    sizeof key - 1, sizeof hash);
    crypto_generichash_blake2b_update(&state, previous, sizeof previous);
    crypto_generichash_blake2b_update(&state, record, record_bytes - 32);
    crypto_generichash_blake2b_final(&state, hash, sizeof hash);
    CHECK(std::memcmp(hash, record + record_bytes - 32, 32) == 0);
    std::memcpy(previous, hash, sizeof previous);
    reasons.push_back(load_le<std::uint32_t>(record + 4));
  }
  CHECK(reasons == std::vector<std::uint32_t>{0, static_cast<std::uint32_t>(reason::repeated), 0});
}
