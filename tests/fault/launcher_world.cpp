// SPDX-License-Identifier: Apache-2.0
#include "fault/launcher_world.hpp"

#include "base/clock.hpp"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <poll.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>

namespace troupe::testing {

using clock = std::chrono::steady_clock;

launcher_world::launcher_world(bool is_private, std::vector<std::string> options)
    : options_{std::move(options)} {
  char pattern[] = "/tmp/troupe-launcher-XXXXXX";
  REQUIRE(::mkdtemp(pattern) != nullptr);
  folder_ = pattern;
  place_ = {TROUPE_LAUNCHER, folder_ + "/state", folder_ + "/state/socket"};
  ::randombytes_buf(cluster_id_.data(), cluster_id_.size());
  keyring_ = make_keyring(1);
  launch::enrolment what;
  what.cluster_id = cluster_id_;
  what.nodes = "1-4,9";
  what.peer_uid = ::geteuid();
  what.root_key = root_.public_part();
  what.is_private = is_private;
  auto enrolled = launch::enroll_launcher(place_, what);
  INFO((enrolled ? "" : enrolled.error().text));
  REQUIRE(enrolled);
  start();
  connect();
}

launcher_world::~launcher_world() {
  client_.reset();
  if (keeper_ != 0)
    kill_launcher();
  (void)!std::system(("rm -rf " + folder_).c_str());
}

void launcher_world::start() {
  auto pid = launch::spawn_launcher(place_, options_);
  REQUIRE(pid);
  keeper_ = *pid;
}

void launcher_world::connect() {
  std::string why;
  auto connected = eventually([&] {
    auto client = launch::launcher_client::connect(place_.socket, keyring_, 10s);
    if (!client) {
      why = client.error().text;
      return false;
    }
    client_.emplace(std::move(*client));
    return true;
  });
  INFO(why << "\n" << log());
  REQUIRE(connected);
  const auto& launcher = client_->launcher().launcher;
  pid_ = static_cast<pid_t>(launcher.pid);
  if (!std::equal(instance_.begin(), instance_.end(), std::begin(launcher.instance)))
    records.clear(); // another instance numbers from 1 again
  std::copy(std::begin(launcher.instance), std::end(launcher.instance), instance_.begin());
}

void launcher_world::kill_launcher() {
  if (pid_ != 0)
    ::kill(pid_, SIGKILL);
  else
    ::kill(keeper_, SIGTERM);     // not known: the keeper passes it on
  ::waitpid(keeper_, nullptr, 0); // it ends when nothing is left
  pid_ = keeper_ = 0;
  client_.reset();
}

void launcher_world::kill_launcher(pid_t keeper) {
  keeper_ = keeper;
  kill_launcher();
}

std::vector<std::uint8_t> launcher_world::make_keyring(std::uint32_t version) const {
  auth::keyring_contents contents;
  contents.version = version;
  contents.cluster = cluster_id_;
  contents.entries = {{7, auth::key_state::active, 0, signer_.public_part()}};
  auto made = auth::make_keyring(contents, root_);
  REQUIRE(made);
  return *made;
}

std::string launcher_world::log() const {
  return read_file(place_.state + "/launcher.log");
}

wish launcher_world::job(std::vector<std::string> command) {
  wish w;
  auto& order = w.order;
  order.cluster_id = cluster_id_;
  order.node_id = 2;
  order.instance = instance_;
  order.job = next_job_++;
  order.issued_ns = system_clock_source{}.boot();
  order.expires_ns = order.issued_ns + 30 * ns_per_s;
  order.uid = ::geteuid();
  order.gid = ::getegid();
  order.grace_s = 2;
  order.user = "someone";
  order.home = "/";
  order.shell = "/bin/sh";
  order.node_name = "n2";
  order.nodelist = "n2";
  order.submit_dir = "/somewhere";
  w.spec.cwd = folder_;
  w.spec.argv = std::move(command);
  w.spec.env = {"PATH=/usr/bin:/bin"};
  return w;
}

void launcher_world::make_array(wish& w, std::uint32_t first, std::uint32_t count,
                                std::uint32_t window) {
  w.order.element_first = first;
  w.order.element_count = count;
  w.order.window = window;
}

std::uint64_t launcher_world::send(wish w) {
  std::vector<wish> one;
  one.push_back(std::move(w));
  return send_all(std::move(one));
}

std::uint64_t launcher_world::send_all(std::vector<wish> wishes) {
  std::vector<std::vector<std::uint8_t>> specs;
  std::vector<std::vector<std::uint8_t>> orders;
  for (auto& w : wishes) {
    auto spec = auth::encode_exec_spec(w.spec);
    INFO((spec ? "" : spec.error().text));
    REQUIRE(spec);
    w.order.spec_digest = auth::exec_spec_digest(*spec);
    auto order = auth::encode_order(w.order);
    INFO((order ? "" : order.error().text));
    REQUIRE(order);
    specs.push_back(std::move(*spec));
    orders.push_back(std::move(*order));
  }
  std::vector<byte_view> bodies(orders.begin(), orders.end());
  auto seals = auth::seal_batch(auth::domain::order, 7, signer_.secret().view(), bodies);
  REQUIRE(seals);
  std::vector<launch::sealed_order> sealed;
  for (std::size_t i = 0; i < orders.size(); ++i)
    sealed.push_back({orders[i], (*seals)[i], static_cast<std::uint32_t>(i)});
  std::vector<byte_view> spec_views(specs.begin(), specs.end());
  auto tag = next_tag_++;
  REQUIRE(client().launch(tag, sealed, spec_views));
  return tag;
}

std::uint64_t launcher_world::send_raw(byte_view order, byte_view seal_bytes, byte_view spec) {
  launch::sealed_order sealed{order, seal_bytes, 0};
  auto tag = next_tag_++;
  REQUIRE(client().launch(tag, {&sealed, 1}, {&spec, 1}));
  return tag;
}

std::vector<std::uint8_t> launcher_world::seal(byte_view order) const {
  auto made = auth::seal_one(auth::domain::order, 7, signer_.secret().view(), order);
  REQUIRE(made);
  return *made;
}

void launcher_world::take(launch::event event) {
  if (auto* r = std::get_if<launch::recorded>(&event)) {
    for (const auto& record : r->records)
      records.emplace(record.seq, record);
  } else if (auto* no = std::get_if<launch::refused>(&event)) {
    refusals.push_back(std::move(*no));
  } else if (auto* done = std::get_if<launch::batch_done>(&event)) {
    batches[done->tag] = *done;
  } else if (auto* lent = std::get_if<launch::lent_stream>(&event)) {
    streams.insert_or_assign(lent->what.id, std::move(*lent));
  } else if (auto* text = std::get_if<launch::detailed>(&event)) {
    details[text->seq] = text->text;
  } else if (auto* part = std::get_if<launch::inventoried>(&event)) {
    inventory.insert(inventory.end(), part->entries.begin(), part->entries.end());
  } else if (std::get_if<launch::inventory_end>(&event) != nullptr) {
    ++inventories_ended;
  } else if (std::get_if<launch::welcomed>(&event) != nullptr) {
    ++welcomes;
  }
}

bool launcher_world::wait_for(const std::function<bool()>& done,
                              std::chrono::milliseconds deadline) {
  auto until = clock::now() + deadline;
  while (!done()) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - clock::now());
    if (left <= 0ms)
      return false;
    auto event = client().receive_within(std::min(left, 100ms));
    if (event)
      take(std::move(*event));
    else if (event.error().code != errc::exhausted)
      return done();
  }
  return true;
}

launch::record launcher_world::end_of(const wish& w, std::uint32_t element) {
  launch::record found;
  auto ended = wait_for([&] {
    for (const auto& [seq, record] : records)
      if (record.key == key(w) && record.element == element &&
          record.what != launch::record_kind::started) {
        found = record;
        return true;
      }
    return false;
  });
  INFO("job " << w.order.job
              << " did not end; refused: " << (refusals.empty() ? "" : refusals.back().text) << "\n"
              << log());
  REQUIRE(ended);
  return found;
}

launch::record launcher_world::run(const wish& w) {
  send(w);
  return end_of(w, w.order.element_first);
}

launch::refused launcher_world::refusal_of(const wish& w) {
  return refusal_with(send(w));
}

launch::refused launcher_world::refusal_with(std::uint64_t tag) {
  launch::refused found;
  auto refused = wait_for([&] {
    for (const auto& refusal : refusals)
      if (refusal.what.tag == tag) {
        found = refusal;
        return true;
      }
    return batches.count(tag) != 0;
  });
  INFO(log());
  REQUIRE(refused);
  REQUIRE(found.what.tag == tag);
  CHECK(found.text.size() > 20);
  return found;
}

void launcher_world::acknowledge_all() {
  if (!records.empty())
    REQUIRE(client().acknowledge(records.rbegin()->first));
}

std::size_t launcher_world::count(launch::record_kind kind, std::uint64_t job) const {
  std::size_t found = 0;
  for (const auto& [seq, record] : records)
    if (record.key.job == job && record.what == kind)
      ++found;
  return found;
}

bool eventually(const std::function<bool()>& done, std::chrono::milliseconds deadline) {
  auto until = clock::now() + deadline;
  while (!done()) {
    if (clock::now() >= until)
      return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

std::string read_all(int fd) {
  std::string out;
  char part[4096];
  for (;;) {
    pollfd entry{fd, POLLIN, 0};
    if (::poll(&entry, 1, 20'000) <= 0)
      return out + " (and then nothing for 20 s)";
    auto got = ::read(fd, part, sizeof part);
    if (got <= 0)
      return out;
    out.append(part, static_cast<std::size_t>(got));
  }
}

std::string read_file(const std::string& path) {
  std::ifstream in{path};
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

bool is_alive(pid_t pid) {
  auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  auto name_end = stat.rfind(')');
  return name_end != std::string::npos && name_end + 2 < stat.size() && stat[name_end + 2] != 'Z';
}

} // namespace troupe::testing
