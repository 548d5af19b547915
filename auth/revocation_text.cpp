// SPDX-License-Identifier: Apache-2.0
#include "auth/keys.hpp"
#include "auth/revocation.hpp"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <optional>

// Revocations as text: a heading with the epoch, one line each, and a last line that says how many
// there are, so that a file which was cut off is no valid one.

namespace troupe::auth {

namespace {

constexpr std::string_view heading = "troupe revocations 1 ";
constexpr std::string_view ending = "end ";

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number value{};
  const auto* last = text.data() + text.size();
  const auto [end, failed] = std::from_chars(text.data(), last, value);
  if (failed != std::errc{} || end != last)
    return std::nullopt;
  return value;
}

template <class Bytes>
std::optional<Bytes> bytes_in(std::string_view text) {
  const auto raw = from_hex(text);
  Bytes value{};
  if (!raw || raw->size() != value.size())
    return std::nullopt;
  std::copy(raw->begin(), raw->end(), value.begin());
  return value;
}

/// Takes the text before `until` off its front; all of it when there is none.
std::string_view take_until(std::string_view& text, char until) {
  const auto at = text.find(until);
  const auto part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

template <class Set, class Value>
bool insert_if(Set& set, const std::optional<Value>& value) {
  return value && set.insert(*value).second;
}

} // namespace

std::string revocation_state::to_text() const {
  std::shared_lock lock{mutex_};
  std::string text{heading};
  text += std::to_string(epoch()) + "\n";
  for (const auto& [serial, until] : serials_)
    text += "serial " + to_hex(serial) + " " + std::to_string(until) + "\n";
  for (const auto& holder : holders_)
    text += "holder " + to_hex(holder) + "\n";
  for (auto uid : uids_)
    text += "uid " + std::to_string(uid) + "\n";
  for (auto job : jobs_)
    text += "job " + std::to_string(job) + "\n";
  for (auto key : keys_)
    text += "key " + std::to_string(key) + "\n";
  const auto count = serials_.size() + holders_.size() + uids_.size() + jobs_.size() + keys_.size();
  return text + std::string{ending} + std::to_string(count) + "\n";
}

expected<void> revocation_state::restore(std::string_view text) {
  revocation_state read{epochs_required_};
  const auto malformed = [](std::size_t line) {
    return fail(errc::invalid, "line " + std::to_string(line) +
                                   " of the revocations is not as this program writes it; restore "
                                   "the file from a backup");
  };
  const auto cut_off = !text.ends_with('\n');
  auto first = take_until(text, '\n');
  if (cut_off || !first.starts_with(heading))
    return malformed(1);
  first.remove_prefix(heading.size());
  const auto epoch = number_in<std::uint64_t>(first);
  if (!epoch || *epoch == 0)
    return malformed(1);
  std::size_t line = 2;
  for (bool ended = false; !ended; ++line) {
    auto rest = take_until(text, '\n');
    if (rest.starts_with(ending)) {
      rest.remove_prefix(ending.size());
      if (number_in<std::size_t>(rest) != line - 2 || !text.empty())
        return malformed(line);
      ended = true;
      continue;
    }
    const auto kind = take_until(rest, ' ');
    bool taken = false;
    if (kind == "serial") {
      const auto serial = bytes_in<serial_number>(take_until(rest, ' '));
      const auto until = number_in<utc_ns>(rest);
      taken = serial && until && read.serials_.emplace(*serial, *until).second;
    } else if (kind == "holder") {
      taken = insert_if(read.holders_, bytes_in<public_key>(rest));
    } else if (kind == "uid") {
      taken = insert_if(read.uids_, number_in<std::uint32_t>(rest));
    } else if (kind == "job") {
      taken = insert_if(read.jobs_, number_in<std::uint64_t>(rest));
    } else if (kind == "key") {
      taken = insert_if(read.keys_, number_in<std::uint32_t>(rest));
    }
    if (!taken)
      return malformed(line);
  }
  std::unique_lock lock{mutex_};
  serials_ = std::move(read.serials_);
  holders_ = std::move(read.holders_);
  uids_ = std::move(read.uids_);
  jobs_ = std::move(read.jobs_);
  keys_ = std::move(read.keys_);
  epoch_.store(*epoch, std::memory_order_release);
  return {};
}

} // namespace troupe::auth
