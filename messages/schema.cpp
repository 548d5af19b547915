// SPDX-License-Identifier: Apache-2.0
#include "messages/schema.hpp"

#include <algorithm>
#include <bit>

namespace troupe::codec {

namespace {

template <class T>
const T& as(const void* where) {
  return *static_cast<const T*>(where);
}

bool equal_lists(const schema& type, const void* left, const void* right) {
  const auto count = type.count(left);
  if (count != type.count(right))
    return false;
  for (std::size_t i = 0; i < count; ++i)
    if (!equal(*type.element, type.at(left, i), type.at(right, i)))
      return false;
  return true;
}

bool equal_optionals(const schema& type, const void* left, const void* right) {
  const void* l = type.held(left);
  const void* r = type.held(right);
  if (l == nullptr || r == nullptr)
    return l == r;
  return equal(*type.element, l, r);
}

std::string too_large(std::size_t size, const char* unit, std::size_t limit) {
  return "holds " + std::to_string(size) + " " + unit + "; at most " + std::to_string(limit) +
         " are allowed";
}

} // namespace

std::int64_t load_integer(const schema& type, const void* where) {
  std::uint64_t raw = 0;
  // The tables exist for little-endian machines only; Troupe builds nowhere else.
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(&raw, where, type.size);
  const auto unused_bits = 64 - 8 * type.size;
  if (type.is_signed)
    return static_cast<std::int64_t>(raw << unused_bits) >> unused_bits;
  return static_cast<std::int64_t>(raw);
}

bool store_integer(const schema& type, void* where, bool negative, std::uint64_t magnitude) {
  const auto bits = 8 * type.size;
  const auto largest =
      type.is_signed ? (std::uint64_t{1} << (bits - 1)) - 1 : ~std::uint64_t{0} >> (64 - bits);
  if (negative && magnitude != 0 && (!type.is_signed || magnitude - 1 > largest))
    return false;
  if (!negative && magnitude > largest)
    return false;
  const auto raw = negative ? ~magnitude + 1 : magnitude;
  std::memcpy(where, &raw, type.size);
  return true;
}

bool equal(const schema& type, const void* left, const void* right) {
  switch (type.kind) {
  case shape::boolean: return as<bool>(left) == as<bool>(right);
  case shape::integer:
  case shape::enumeration:
  case shape::real: // by bits: -0.0 and NaN must survive a round trip
  case shape::fixed_bytes: return std::memcmp(left, right, type.size) == 0;
  case shape::text: return as<std::string>(left) == as<std::string>(right);
  case shape::bytes: return as<byte_vector>(left) == as<byte_vector>(right);
  case shape::text_map: return as<text_map>(left) == as<text_map>(right);
  case shape::list: return equal_lists(type, left, right);
  case shape::optional: return equal_optionals(type, left, right);
  case shape::record:
    return std::all_of(type.members.begin(), type.members.end(), [&](const member_schema& m) {
      return equal(*m.type, m.in(left), m.in(right));
    });
  }
  return false;
}

std::vector<std::string_view> enum_names(const schema& type) {
  std::vector<std::string_view> names;
  for (std::int64_t value = 0; value < 256; ++value)
    if (auto name = type.enum_name(value); name != "unknown")
      names.push_back(name);
  return names;
}

std::string bound_error(const schema& type, const void* where, const field_options& options) {
  if (options.limit == no_limit && options.each_limit == no_limit)
    return {};
  switch (type.kind) {
  case shape::list:
    if (type.count(where) > options.limit)
      return too_large(type.count(where), "entries", options.limit);
    return {};
  case shape::text_map: {
    const auto& map = as<text_map>(where);
    if (map.size() > options.limit)
      return too_large(map.size(), "entries", options.limit);
    for (const auto& [key, value] : map)
      if (std::max(key.size(), value.size()) > options.each_limit)
        return "has an entry that " +
               too_large(std::max(key.size(), value.size()), "bytes", options.each_limit);
    return {};
  }
  case shape::optional:
    if (const void* held = type.held(where))
      return bound_error(*type.element, held, options);
    return {};
  default: return each_bound_error(type, where, options.limit);
  }
}

std::string each_bound_error(const schema& entry, const void* where, std::size_t limit) {
  if (limit == no_limit)
    return {};
  if (entry.kind == shape::text && as<std::string>(where).size() > limit)
    return too_large(as<std::string>(where).size(), "bytes", limit);
  if (entry.kind == shape::bytes && as<byte_vector>(where).size() > limit)
    return too_large(as<byte_vector>(where).size(), "bytes", limit);
  if (entry.kind == shape::integer) {
    const auto value = load_integer(entry, where);
    const bool negative = entry.is_signed && value < 0;
    if (!negative && static_cast<std::uint64_t>(value) > limit)
      return "is " + std::to_string(static_cast<std::uint64_t>(value)) + "; at most " +
             std::to_string(limit) + " is allowed";
  }
  return {};
}

} // namespace troupe::codec
