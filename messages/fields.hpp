// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

// A struct's field list, written once beside its members. CBOR, JSON, interface texts and every
// view come from it:
//
//   struct resource_request {
//     std::uint32_t nodes = 0;
//     std::vector<std::string> argv;
//     std::string cwd;
//     static constexpr auto fields() {
//       return field_list(field<1>("nodes", &resource_request::nodes, at_most(65536)),
//                         field<2>("argv", &resource_request::argv, visibility::owner,
//                         at_most(4096)), field<3>("cwd", &resource_request::cwd,
//                         visibility::owner, required));
//     }
//   };
//
// Members may be bool, integers, double, enums (with to_string and from_string found by ADL),
// std::string, bytes (std::vector<std::uint8_t>, std::array<std::uint8_t, N>),
// std::map<std::string, std::string>, structs with a field list, and std::vector and std::optional
// of these. Numbers are permanent: a removed field's number is not used again. A struct with
// `static constexpr std::string_view type_name` is named in interface texts, else it is written in
// place.

namespace troupe {

/// Who may see a field; a viewer sees its own level and those below it.
enum class visibility : std::uint8_t { public_ = 0, owner = 1, operator_ = 2 };

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

/// What a field list says about one field beyond its number, name and member.
struct field_options {
  visibility visible = visibility::public_;
  std::size_t limit =
      no_limit; ///< bytes of a text or byte string, entries of a list or map, value of an integer
  std::size_t each_limit =
      no_limit;           ///< the same bound for every entry of a list; key or value bytes in a map
  bool critical = false;  ///< a CBOR reader that does not know the number must refuse the message
  bool mandatory = false; ///< a JSON object without it is refused
};

struct size_bound {
  std::size_t limit;
};
struct each_bound {
  std::size_t limit;
};
struct critical_mark {};
struct mandatory_mark {};

/// Bound of a text or byte string in bytes, of a list or map in entries, of an integer by value.
constexpr size_bound at_most(std::size_t limit) {
  return {limit};
}

/// Bound of every entry of a list (bytes or value), or of every key and value of a map (bytes).
constexpr each_bound each_at_most(std::size_t limit) {
  return {limit};
}

/// Readers that do not know this field must refuse the message (CBOR), for it changes what the
/// message means.
inline constexpr critical_mark required{};

/// A JSON object must contain this field.
inline constexpr mandatory_mark mandatory{};

namespace detail {

constexpr void apply(field_options& to, visibility level) {
  to.visible = level;
}
constexpr void apply(field_options& to, size_bound bound) {
  to.limit = bound.limit;
}
constexpr void apply(field_options& to, each_bound bound) {
  to.each_limit = bound.limit;
}
constexpr void apply(field_options& to, critical_mark) {
  to.critical = true;
}
constexpr void apply(field_options& to, mandatory_mark) {
  to.mandatory = true;
}

} // namespace detail

/// One line of a field list.
template <unsigned Number, class Struct, class Value>
struct field_info {
  static_assert(Number >= 1 && Number <= 127, "field numbers are 1 to 127");
  static constexpr unsigned number = Number;
  using struct_type = Struct;
  using value_type = Value;
  std::string_view name;
  Value Struct::*member;
  field_options options;
};

/// A field: its permanent number, its name in JSON, its member, and options in any order.
template <unsigned Number, class Struct, class Value, class... Options>
constexpr field_info<Number, Struct, Value> field(std::string_view name, Value Struct::*member,
                                                  Options... options) {
  field_info<Number, Struct, Value> result{name, member, {}};
  (detail::apply(result.options, options), ...);
  return result;
}

template <class... Fields>
struct field_list_of {
  static constexpr std::size_t size = sizeof...(Fields);
  std::tuple<Fields...> items;
};

namespace detail {

template <unsigned... Numbers>
constexpr bool numbers_differ() {
  // The leading 0 keeps the array non-empty; it is no field number.
  constexpr unsigned numbers[] = {0, Numbers...};
  for (std::size_t i = 1; i <= sizeof...(Numbers); ++i)
    for (std::size_t j = i + 1; j <= sizeof...(Numbers); ++j)
      if (numbers[i] == numbers[j])
        return false;
  return true;
}

/// Lower case words of letters and digits joined by single underscores: valid in JSON, Varlink and
/// C++.
constexpr bool is_field_name(std::string_view name) {
  if (name.empty() || name.front() < 'a' || name.front() > 'z' || name.back() == '_')
    return false;
  char before = 'a';
  for (char c : name) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!word && (c != '_' || before == '_'))
      return false;
    before = c;
  }
  return true;
}

template <class... Fields, std::size_t... Index>
constexpr bool names_are_good(const field_list_of<Fields...>& list, std::index_sequence<Index...>) {
  const std::string_view names[] = {std::string_view{}, std::get<Index>(list.items).name...};
  for (std::size_t i = 1; i <= sizeof...(Fields); ++i) {
    if (!is_field_name(names[i]))
      return false;
    for (std::size_t j = i + 1; j <= sizeof...(Fields); ++j)
      if (names[i] == names[j])
        return false;
  }
  return true;
}

template <class T>
concept has_field_list = requires {
  T::fields();
};

} // namespace detail

/// The list a struct's fields() returns.
template <class... Fields>
constexpr field_list_of<Fields...> field_list(Fields... fields) {
  static_assert(detail::numbers_differ<Fields::number...>(), "two fields have the same number");
  return {std::tuple<Fields...>{fields...}};
}

/// A struct that has a field list.
template <class T>
concept fielded = detail::has_field_list<T>;

/// The checked field list of T: numbers and names differ, names are lower_case.
template <fielded T>
constexpr auto fields_of() {
  constexpr auto list = T::fields();
  static_assert(detail::names_are_good(list, std::make_index_sequence<list.size>{}),
                "two fields have the same name, or a name is not lower_case words");
  return list;
}

/// Calls visit(info, value) for every field in the order of the list; `object` may be const.
template <class T, class Visitor>
requires fielded<std::remove_const_t<T>>
constexpr void for_each_field(T& object, Visitor&& visit) {
  constexpr auto list = fields_of<std::remove_const_t<T>>();
  std::apply([&](const auto&... info) { (visit(info, object.*(info.member)), ...); }, list.items);
}

} // namespace troupe
