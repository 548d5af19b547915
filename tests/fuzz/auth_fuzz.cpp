// SPDX-License-Identifier: Apache-2.0
// One decoder per build, chosen by TROUPE_FUZZ_INPUT. Whatever it takes must encode to the same
// bytes again; whatever it does not take must leave nothing behind.
#include "auth/audit_line.hpp"
#include "auth/exec_spec.hpp"
#include "auth/keyring_view.hpp"
#include "auth/order.hpp"
#include "auth/seal_view.hpp"
#include "auth/warrant.hpp"

#include <cstdlib>

using namespace troupe;
using namespace troupe::auth;

namespace {

template <class Bytes>
void must_equal(const Bytes& encoded, byte_view input) {
  if (!same_bytes({encoded.data(), encoded.size()}, input))
    std::abort();
}

[[maybe_unused]] void capability_input(byte_view input) {
  if (auto x = decode_body(input))
    must_equal(encode_body(*x), input);
  if (auto chain = split_chain(input))
    must_equal(chain->parent, input.first(capability_size));
}

[[maybe_unused]] void job_request_input(byte_view input) {
  if (auto x = decode_job_request(input))
    must_equal(encode(*x), input);
}

[[maybe_unused]] void warrant_input(byte_view input) {
  if (auto x = decode_warrant(input))
    must_equal(encode(*x), input);
}

[[maybe_unused]] void keyring_input(byte_view input) {
  keyring_view ring;
  if (decode_keyring(input, ring) != keyring_fault::none)
    return;
  must_equal(ring.bytes, input);
  keyring_entry_view entry;
  (void)find_verifying_key(ring, 1, 1, entry);
  if (check_keyring_succession(input, ring) != keyring_fault::none)
    std::abort();
}

[[maybe_unused]] void seal_input(byte_view input) {
  seal_view seal;
  if (!decode_seal(input, seal))
    (void)seal_root(domain::order, seal, input);
}

[[maybe_unused]] void order_input(byte_view input) {
  if (auto x = decode_order(input))
    must_equal(*encode_order(*x), input);
}

[[maybe_unused]] void exec_spec_input(byte_view input) {
  if (auto x = decode_exec_spec(input))
    must_equal(*encode_exec_spec(*x), input);
}

[[maybe_unused]] void audit_line_input(byte_view input) {
  auto head = audit_detail::parse_head(as_text(input));
  if (!head)
    return;
  auto again = audit_detail::format_head(head->sequence, head->at, head->previous, head->kind);
  if (audit_detail::parse_head(again + "}").has_value() == false)
    std::abort();
  (void)audit_detail::parse_checkpoint(head->rest);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  require_sodium();
  TROUPE_FUZZ_INPUT({data, size});
  return 0;
}
