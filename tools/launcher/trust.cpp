// SPDX-License-Identifier: Apache-2.0
#include "auth/trust_view.hpp"
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

// The trust record: who may speak to this launcher and whose signatures it obeys. Written once by
// `enroll`, as one fixed layout; and the keyring of the highest number seen, kept beside it.

namespace troupe::launcher {

namespace {

using auth::trust_magic;

struct trust_record {
  std::uint32_t magic;
  std::uint32_t mode;
  std::uint8_t cluster_id[16];
  std::uint8_t root_key[32];
  std::uint32_t peer_uid;
  std::uint32_t uid_min;
  std::uint32_t range_count;
  std::uint32_t reserved;
  launch::node_range ranges[ranges_max];
};
static_assert(offsetof(trust_record, cluster_id) == offsetof(auth::trust_head, cluster_id) &&
              offsetof(trust_record, root_key) == offsetof(auth::trust_head, root_key));

bool parse_hex(const char* text, std::uint8_t* out, std::size_t size) {
  if (text == nullptr || std::strlen(text) != size * 2)
    return false;
  std::size_t length = 0;
  return sodium_hex2bin(out, size, text, size * 2, nullptr, &length, nullptr) == 0 &&
         length == size;
}

bool parse_number(const char*& at, std::uint32_t& out) {
  if (*at < '0' || *at > '9')
    return false;
  char* end = nullptr;
  errno = 0;
  auto value = std::strtoul(at, &end, 10);
  if (errno != 0 || value > 0xfffffffeUL)
    return false;
  at = end;
  out = static_cast<std::uint32_t>(value);
  return true;
}

/// "1-4,7": ranges of node ids.
bool parse_ranges(const char* at, trust_record& out) {
  for (;;) {
    if (out.range_count == ranges_max)
      return false;
    auto& range = out.ranges[out.range_count++];
    if (!parse_number(at, range.first))
      return false;
    range.last = range.first;
    if (*at == '-' && (!parse_number(++at, range.last) || range.last < range.first))
      return false;
    if (*at == '\0')
      return true;
    if (*at++ != ',')
      return false;
  }
}

bool parse_uid(const char* text, std::uint32_t& out) {
  return parse_number(text, out) && *text == '\0';
}

const char* parse_enroll(int argc, char** argv, trust_record& out, const char*& state) {
  bool have_uid = false;
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--private") == 0) {
      out.mode = static_cast<std::uint32_t>(launch::launcher_mode::private_user);
      continue;
    }
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value == nullptr)
      return "every option but --private needs a value";
    if (std::strcmp(argv[i], "--state") == 0)
      state = value;
    else if (std::strcmp(argv[i], "--cluster-id") == 0) {
      if (!parse_hex(value, out.cluster_id, sizeof out.cluster_id))
        return "--cluster-id needs 32 hexadecimal digits";
    } else if (std::strcmp(argv[i], "--root-key") == 0) {
      if (!parse_hex(value, out.root_key, sizeof out.root_key) ||
          !auth::acceptable_public_key(out.root_key))
        return "--root-key needs the 64 hexadecimal digits of an Ed25519 public key";
    } else if (std::strcmp(argv[i], "--nodes") == 0) {
      if (!parse_ranges(value, out))
        return "--nodes needs node ids such as 1-4,7 (at most 64 ranges)";
    } else if (std::strcmp(argv[i], "--uid") == 0) {
      have_uid = parse_uid(value, out.peer_uid);
      if (!have_uid)
        return "--uid needs the number of the user trouped runs as";
    } else if (std::strcmp(argv[i], "--uid-min") == 0) {
      if (!parse_uid(value, out.uid_min) || out.uid_min == 0)
        return "--uid-min needs a number above 0";
    } else {
      return "unknown option: see --help";
    }
    ++i;
  }
  static constexpr std::uint8_t zero[32] = {};
  if (state == nullptr || !have_uid || out.range_count == 0 ||
      std::memcmp(out.root_key, zero, sizeof zero) == 0)
    return "--state, --cluster-id, --nodes, --uid and --root-key are all needed";
  return nullptr;
}

} // namespace

int enroll(int argc, char** argv) {
  trust_record record{};
  record.magic = trust_magic;
  record.mode = static_cast<std::uint32_t>(launch::launcher_mode::cluster);
  record.uid_min = uid_min_default;
  const char* state = nullptr;
  if (const char* bad = parse_enroll(argc, argv, record, state)) {
    std::fprintf(stderr, "troupe-launcher enroll: %s\n", bad);
    return 2;
  }
  if (::mkdir(state, 0700) != 0 && errno != EEXIST) {
    std::fprintf(stderr, "troupe-launcher enroll: cannot make the directory %s: %s\n", state,
                 std::strerror(errno));
    return 1;
  }
  if (!write_file_atomically(state, "trust", &record, sizeof record)) {
    std::fprintf(stderr, "troupe-launcher enroll: cannot write %s/trust: %s\n", state,
                 std::strerror(errno));
    return 1;
  }
  // Of another cluster or root: it would refuse the new one's as a rollback.
  char path[4096];
  std::snprintf(path, sizeof path, "%s/keyring", state);
  ::unlink(path);
  return 0;
}

bool load_trust(launcher& l) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/trust", l.opts.state);
  struct stat info {};
  trust_record record{};
  std::size_t length = 0;
  if (::stat(path, &info) != 0 || !read_file_at(path, &record, sizeof record, length)) {
    say("cannot read the trust record %s: %s; run troupe-launcher enroll first", path,
        std::strerror(errno));
    return false;
  }
  if (info.st_uid != l.own_uid || (info.st_mode & 077) != 0) {
    say("the trust record %s must belong to uid %u with mode 0600", path,
        static_cast<unsigned>(l.own_uid));
    return false;
  }
  if (length != sizeof record || info.st_size != sizeof record || record.magic != trust_magic ||
      record.range_count == 0 || record.range_count > ranges_max || record.mode < 1 ||
      record.mode > 2 || record.uid_min == 0) {
    say("the trust record %s is damaged or of another version; enroll again", path);
    return false;
  }
  auto& rules = l.rules;
  rules.mode = static_cast<launch::launcher_mode>(record.mode);
  std::memcpy(rules.cluster_id, record.cluster_id, sizeof rules.cluster_id);
  std::memcpy(rules.root_key, record.root_key, sizeof rules.root_key);
  rules.peer_uid = record.peer_uid;
  rules.uid_min = record.uid_min;
  rules.range_count = record.range_count;
  std::memcpy(rules.ranges, record.ranges, sizeof rules.ranges);
  if (!rules.is_private() && l.own_uid != 0) {
    say("a launcher of a cluster must run as root; enroll with --private for one user's own");
    return false;
  }
  if (rules.is_private() && rules.peer_uid != l.own_uid) {
    say("a private launcher serves its own uid %u only, the trust record names %u",
        static_cast<unsigned>(l.own_uid), rules.peer_uid);
    return false;
  }
  return true;
}

bool load_keyring(launcher& l) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/keyring", l.opts.state);
  if (!read_file_at(path, l.keyring, sizeof l.keyring, l.keyring_bytes)) {
    l.keyring_bytes = 0;
    return errno == ENOENT;
  }
  auth::keyring_view ring;
  byte_view bytes{l.keyring, l.keyring_bytes};
  if (auth::decode_keyring(bytes, ring) != auth::keyring_fault::none ||
      auth::verify_keyring(ring, l.rules.root_key, l.rules.cluster_id) !=
          auth::keyring_fault::none) {
    say("the kept keyring %s does not verify against the trust record", path);
    return false;
  }
  return true;
}

const char* accept_keyring(launcher& l, byte_view bytes) {
  auth::keyring_view ring;
  if (auto fault = auth::decode_keyring(bytes, ring); fault != auth::keyring_fault::none)
    return auth::to_string(fault);
  if (auto fault = auth::verify_keyring(ring, l.rules.root_key, l.rules.cluster_id);
      fault != auth::keyring_fault::none)
    return auth::to_string(fault);
  byte_view known{l.keyring, l.keyring_bytes};
  if (auto fault = auth::check_keyring_succession(known, ring); fault != auth::keyring_fault::none)
    return auth::to_string(fault);
  if (known.size() == bytes.size() && std::memcmp(known.data(), bytes.data(), bytes.size()) == 0)
    return nullptr;
  // Kept before it is used: a launcher that forgot it would accept a lower one after a restart.
  if (!write_file_atomically(l.opts.state, "keyring", bytes.data(), bytes.size()))
    return "it could not be written to the state directory";
  std::memcpy(l.keyring, bytes.data(), bytes.size());
  l.keyring_bytes = bytes.size();
  return nullptr;
}

} // namespace troupe::launcher
