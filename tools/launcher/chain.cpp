// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// The launcher's own journal of orders accepted and refused: fixed records, each with the hash of
// the one before, so that a removed or altered record shows. What the authority says it signed can
// be held against it. It is a witness, not a gate: when the disk does not take it, jobs go on.

namespace troupe::launcher {

namespace {

constexpr std::uint32_t chain_magic = 0x3143524f; // "ORC1"
constexpr std::uint64_t chain_bytes_max = 64UL * 1024 * 1024;
constexpr char chain_key[] = "troupe/order-chain/v1";

struct chain_record {
  std::uint32_t magic;
  std::uint32_t reason; ///< 0 = accepted
  std::uint64_t seq;
  std::int64_t utc_ns;
  std::uint64_t job;
  std::uint32_t incarnation, step, element_first, element_count, node_id, uid;
  std::uint8_t order_digest[32];
  std::uint8_t hash[32]; ///< over the previous record's hash and everything above
};
static_assert(sizeof(chain_record) == 120);

constexpr std::uint32_t buffered_max = 256;
chain_record buffer[buffered_max];
std::uint32_t buffered = 0;
bool is_missed = false; ///< it could not be opened when last tried

void hash_record(const std::uint8_t* previous, chain_record& record) {
  crypto_generichash_blake2b_state state;
  crypto_generichash_blake2b_init(&state, reinterpret_cast<const unsigned char*>(chain_key),
                                  sizeof chain_key - 1, sizeof record.hash);
  crypto_generichash_blake2b_update(&state, previous, sizeof record.hash);
  crypto_generichash_blake2b_update(&state, reinterpret_cast<const unsigned char*>(&record),
                                    offsetof(chain_record, hash));
  crypto_generichash_blake2b_final(&state, record.hash, sizeof record.hash);
}

void open_file(launcher& l) {
  char path[4096];
  std::snprintf(path, sizeof path, "%s/orders", l.opts.state);
  l.chain.fd = ::open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  struct stat info {};
  if (l.chain.fd < 0 || ::fstat(l.chain.fd, &info) != 0) {
    if (!is_missed) // said once; each batch tries again
      say("cannot open the journal of orders %s: %s; going on without", path, std::strerror(errno));
    is_missed = true;
    if (l.chain.fd >= 0)
      ::close(l.chain.fd);
    l.chain.fd = -1;
    return;
  }
  is_missed = false;
  auto whole = info.st_size / static_cast<off_t>(sizeof(chain_record)) *
               static_cast<off_t>(sizeof(chain_record));
  if (whole != info.st_size)
    (void)!::ftruncate(l.chain.fd, whole); // a record cut short by a crash
  l.chain.file_bytes = static_cast<std::uint64_t>(whole);
}

/// Keeps one older file; the chain goes on in the new one.
void rotate(launcher& l) {
  char path[4096];
  char older[4100];
  std::snprintf(path, sizeof path, "%s/orders", l.opts.state);
  std::snprintf(older, sizeof older, "%s.old", path);
  if (::rename(path, older) != 0) {
    say("cannot set the journal of orders %s aside: %s; it grows on", path, std::strerror(errno));
    return;
  }
  ::close(l.chain.fd);
  open_file(l);
}

} // namespace

void open_chain(launcher& l) {
  open_file(l);
  chain_record last{};
  if (l.chain.fd < 0 || l.chain.file_bytes == 0)
    return;
  auto at = static_cast<off_t>(l.chain.file_bytes - sizeof last);
  if (::pread(l.chain.fd, &last, sizeof last, at) == sizeof last && last.magic == chain_magic) {
    l.chain.seq = last.seq;
    std::memcpy(l.chain.hash, last.hash, sizeof last.hash);
  }
}

void chain_order(launcher& l, const auth::order_view* order, byte_view bytes,
                 std::uint32_t reason_code) {
  if (buffered == buffered_max)
    flush_chain(l);
  auto& record = buffer[buffered++];
  record = chain_record{};
  record.magic = chain_magic;
  record.reason = reason_code;
  record.seq = ++l.chain.seq;
  record.utc_ns = utc_now();
  if (order != nullptr) {
    record.job = order->job;
    record.incarnation = order->incarnation;
    record.step = order->step;
    record.element_first = order->element_first;
    record.element_count = order->element_count;
    record.node_id = order->node_id;
    record.uid = order->uid;
  }
  crypto_generichash_blake2b(record.order_digest, sizeof record.order_digest, bytes.data(),
                             bytes.size(), nullptr, 0);
  hash_record(l.chain.hash, record);
  std::memcpy(l.chain.hash, record.hash, sizeof record.hash);
}

void flush_chain(launcher& l) {
  if (buffered == 0)
    return;
  auto size = buffered * sizeof(chain_record);
  buffered = 0;
  if (l.chain.fd < 0)
    open_file(l);
  if (l.chain.fd < 0)
    return;
  if (l.chain.file_bytes >= chain_bytes_max)
    rotate(l);
  auto put = ::write(l.chain.fd, buffer, size);
  if (put == static_cast<ssize_t>(size)) {
    l.chain.file_bytes += size;
    return;
  }
  say("the journal of orders did not take %zu bytes: %s; jobs go on", size, std::strerror(errno));
  (void)!::ftruncate(l.chain.fd, static_cast<off_t>(l.chain.file_bytes));
}

} // namespace troupe::launcher
