// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/fields.hpp"

#include <array>
#include <concepts>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

// A field list as constant tables, so that each codec is one ordinary function over them, not a
// template per message. Codecs alone use this; everything else includes cbor.hpp, json.hpp or
// describe.hpp.

namespace troupe::codec {

enum class shape : std::uint8_t {
  boolean,
  integer,
  real,
  enumeration,
  text,
  bytes,       ///< std::vector<std::uint8_t>
  fixed_bytes, ///< std::array<std::uint8_t, N>
  list,
  optional,
  text_map, ///< std::map<std::string, std::string>
  record,   ///< a struct with a field list
};

struct schema;

/// One field of a record.
struct member_schema {
  unsigned number = 0;
  std::string_view name;
  field_options options;
  const schema* type = nullptr;
  void* (*address)(void* record) = nullptr;

  const void* in(const void* record) const { return address(const_cast<void*>(record)); }
};

/// Everything a codec needs to know about one type. Only the parts that belong to `kind` are set.
struct schema {
  shape kind = shape::boolean;
  std::size_t size = 0;   ///< sizeof the type; the length of fixed_bytes
  bool is_signed = false; ///< integer, enumeration

  std::string_view (*enum_name)(std::int64_t value) = nullptr;
  bool (*enum_value)(std::string_view name, std::int64_t& value) = nullptr;

  const schema* element = nullptr; ///< list, optional
  std::size_t (*count)(const void* list) = nullptr;
  const void* (*at)(const void* list, std::size_t index) = nullptr;
  void* (*append)(void* list) = nullptr;
  void (*clear)(void* container) = nullptr; ///< list, optional
  const void* (*held)(const void* optional) = nullptr;
  void* (*emplace)(void* optional) = nullptr;

  std::span<const member_schema> members{}; ///< record
  std::string_view type_name{};
  const void* (*defaults)() = nullptr;
};

using byte_vector = std::vector<std::uint8_t>;
using text_map = std::map<std::string, std::string>;

template <class T>
struct is_byte_array : std::false_type {};
template <std::size_t N>
struct is_byte_array<std::array<std::uint8_t, N>> : std::true_type {};
template <class T>
struct is_list : std::false_type {};
template <class T>
struct is_list<std::vector<T>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

template <class T>
constexpr schema make_schema();

/// The table of T; its address identifies the type.
template <class T>
inline constexpr schema schema_of = make_schema<T>();

template <class T, std::size_t Index>
void* member_address(void* record) {
  constexpr auto info = std::get<Index>(fields_of<T>().items);
  return &(static_cast<T*>(record)->*(info.member));
}

template <class T, std::size_t Index>
constexpr member_schema make_member() {
  constexpr auto info = std::get<Index>(fields_of<T>().items);
  using value_type = typename decltype(info)::value_type;
  return {info.number, info.name, info.options, &schema_of<value_type>, &member_address<T, Index>};
}

template <class T, std::size_t... Index>
constexpr auto make_members(std::index_sequence<Index...>) {
  return std::array<member_schema, sizeof...(Index)>{make_member<T, Index>()...};
}

template <class T>
inline constexpr auto
    members_of = make_members<T>(std::make_index_sequence<decltype(fields_of<T>())::size>{});

template <class T>
std::string_view enum_name_of(std::int64_t value) {
  return to_string(static_cast<T>(value));
}

template <class T>
bool enum_value_of(std::string_view name, std::int64_t& value) {
  T parsed{};
  if (!from_string(name, parsed))
    return false;
  value = static_cast<std::int64_t>(parsed);
  return true;
}

template <class T>
constexpr schema make_enum_schema() {
  schema s;
  s.kind = shape::enumeration;
  s.size = sizeof(T);
  s.is_signed = std::is_signed_v<std::underlying_type_t<T>>;
  s.enum_name = &enum_name_of<T>;
  s.enum_value = &enum_value_of<T>;
  return s;
}

template <class List>
constexpr schema make_list_schema() {
  using entry = typename List::value_type;
  static_assert(!std::is_same_v<entry, bool>, "a list of bool has no addressable entries");
  schema s;
  s.kind = shape::list;
  s.size = sizeof(List);
  s.element = &schema_of<entry>;
  s.count = [](const void* list) { return static_cast<const List*>(list)->size(); };
  s.at = [](const void* list, std::size_t index) -> const void* {
    return &(*static_cast<const List*>(list))[index];
  };
  s.append = [](void* list) -> void* { return &static_cast<List*>(list)->emplace_back(); };
  s.clear = [](void* list) { static_cast<List*>(list)->clear(); };
  return s;
}

template <class Optional>
constexpr schema make_optional_schema() {
  using value = typename Optional::value_type;
  static_assert(!is_optional<value>::value, "an optional of an optional has no encoding");
  schema s;
  s.kind = shape::optional;
  s.size = sizeof(Optional);
  s.element = &schema_of<value>;
  s.held = [](const void* optional) -> const void* {
    const auto& it = *static_cast<const Optional*>(optional);
    return it ? &*it : nullptr;
  };
  s.emplace = [](void* optional) -> void* {
    return &static_cast<Optional*>(optional)->emplace(value{});
  };
  s.clear = [](void* optional) { static_cast<Optional*>(optional)->reset(); };
  return s;
}

template <class T>
constexpr schema make_record_schema() {
  schema s;
  s.kind = shape::record;
  s.size = sizeof(T);
  s.members = members_of<T>;
  if constexpr (requires { std::string_view{T::type_name}; })
    s.type_name = T::type_name;
  s.defaults = []() -> const void* {
    static const T value{};
    return &value;
  };
  return s;
}

template <class T>
constexpr schema make_plain_schema(shape kind) {
  schema s;
  s.kind = kind;
  s.size = sizeof(T);
  s.is_signed = std::is_signed_v<T>;
  return s;
}

template <class T>
constexpr schema make_schema() {
  if constexpr (std::is_same_v<T, bool>)
    return make_plain_schema<T>(shape::boolean);
  else if constexpr (std::integral<T>)
    return make_plain_schema<T>(shape::integer);
  else if constexpr (std::is_same_v<T, double>)
    return make_plain_schema<T>(shape::real);
  else if constexpr (std::is_enum_v<T>)
    return make_enum_schema<T>();
  else if constexpr (std::is_same_v<T, std::string>)
    return make_plain_schema<T>(shape::text);
  else if constexpr (std::is_same_v<T, byte_vector>)
    return make_plain_schema<T>(shape::bytes);
  else if constexpr (is_byte_array<T>::value)
    return make_plain_schema<T>(shape::fixed_bytes);
  else if constexpr (std::is_same_v<T, text_map>)
    return make_plain_schema<T>(shape::text_map);
  else if constexpr (is_list<T>::value)
    return make_list_schema<T>();
  else if constexpr (is_optional<T>::value)
    return make_optional_schema<T>();
  else {
    static_assert(fielded<T>, "this type is no member of a field list: see messages/fields.hpp");
    return make_record_schema<T>();
  }
}

/// The integer or enumeration at `where`; the bits of an unsigned 64-bit value are kept.
std::int64_t load_integer(const schema& type, const void* where);

/// Stores a value that may be given negative or beyond int64 (as magnitude); false when the type
/// cannot hold it.
bool store_integer(const schema& type, void* where, bool negative, std::uint64_t magnitude);

/// Whether two values of one type are equal, field by field.
bool equal(const schema& type, const void* left, const void* right);

/// Names of an enumeration's values in order, at most 256.
std::vector<std::string_view> enum_names(const schema& type);

/// Why a size breaks the bound of a field, or empty: "holds 5000 entries; at most 4096 are
/// allowed".
std::string bound_error(const schema& type, const void* where, const field_options& options);

/// Why one entry of a list (or key or value of a map) of `size` breaks its bound, or empty.
std::string each_bound_error(const schema& entry, const void* where, std::size_t limit);

} // namespace troupe::codec
