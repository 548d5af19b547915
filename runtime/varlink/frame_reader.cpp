// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/frame_reader.hpp"

namespace troupe::varlink {

namespace {

// A buffer that once held a large frame is given back: thousands of idle connections would keep
// theirs otherwise.
constexpr std::size_t idle_capacity_bytes = 16 * 1024;

} // namespace

tl::unexpected<error> frame_reader::oversize(std::size_t size) const {
  return fail(errc::invalid, "a message of " + std::to_string(size) +
                                 " bytes or more was sent, the limit is " +
                                 std::to_string(limit_bytes_) + " bytes; send less in one message");
}

// Hands out the frames in `bytes` and leaves what follows the last of them.
expected<bool> frame_reader::deliver(std::string_view& bytes, const on_frame& handle) {
  while (!bytes.empty()) {
    auto end = bytes.find('\0');
    auto size = end == std::string_view::npos ? bytes.size() : end;
    if (size > limit_bytes_)
      return oversize(size);
    if (end == std::string_view::npos)
      return true;
    auto frame = bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (!handle(frame))
      return bytes.empty();
  }
  return true;
}

void frame_reader::keep(std::string_view rest) {
  auto fresh = std::string{rest};
  if (rest.empty() && kept_.capacity() <= idle_capacity_bytes)
    kept_.clear();
  else
    kept_.swap(fresh);
  head_ = 0;
}

expected<bool> frame_reader::feed_kept(std::string_view bytes, const on_frame& handle) {
  if (paused_ && !bytes.empty() && kept_bytes() > limit_bytes_)
    return fail(errc::exhausted,
                "more than " + std::to_string(limit_bytes_) + " bytes of messages wait unread");
  kept_ += bytes;
  auto rest = std::string_view{kept_}.substr(head_);
  auto all = deliver(rest, handle);
  if (!all)
    return all;
  paused_ = !*all;
  head_ = kept_.size() - rest.size();
  if (!paused_ || head_ > kept_.size() / 2)
    keep(rest);
  return all;
}

expected<bool> frame_reader::feed(std::string_view bytes, const on_frame& handle) {
  if (delivering_) {
    if (bytes.empty())
      return false;
    return fail(errc::internal, "bytes were fed to a frame reader from within its own frames");
  }
  delivering_ = true;
  auto all = feed_outermost(bytes, handle);
  delivering_ = false;
  return all;
}

expected<bool> frame_reader::feed_outermost(std::string_view bytes, const on_frame& handle) {
  if (paused_)
    return feed_kept(bytes, handle);
  if (!kept_.empty()) {
    // What is kept has no NUL in it: only the new bytes are searched, so that slow senders cost no
    // repeated scans.
    auto end = bytes.find('\0');
    auto part = bytes.substr(0, end == std::string_view::npos ? bytes.size() : end);
    if (kept_.size() + part.size() > limit_bytes_)
      return oversize(kept_.size() + part.size());
    kept_ += part;
    if (end == std::string_view::npos)
      return true;
    bytes.remove_prefix(end + 1);
    bool more = handle(kept_);
    keep({});
    if (!more && !bytes.empty()) {
      keep(bytes);
      paused_ = true;
      return false;
    }
  }
  auto all = deliver(bytes, handle);
  if (!all)
    return all;
  if (!bytes.empty())
    keep(bytes);
  paused_ = !*all;
  return all;
}

} // namespace troupe::varlink
