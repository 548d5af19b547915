// SPDX-License-Identifier: Apache-2.0
#include "messages/json.hpp"

#include <charconv>
#include <cmath>

namespace troupe::codec {

namespace {

template <class Number>
void append_number(std::string& out, Number value) {
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, result.ptr);
}

void write_integer(std::string& out, const schema& type, const void* where) {
  const auto value = load_integer(type, where);
  if (type.is_signed)
    append_number(out, value);
  else
    append_number(out, static_cast<std::uint64_t>(value));
}

void write_bytes(std::string& out, byte_view bytes) {
  out += '"';
  append_base64url(out, bytes);
  out += '"';
}

void write_list(std::string& out, const schema& type, const void* list, json_style style) {
  out += '[';
  for (std::size_t i = 0, count = type.count(list); i < count; ++i) {
    if (i != 0)
      out += ',';
    write_json(out, *type.element, type.at(list, i), style);
  }
  out += ']';
}

void write_map(std::string& out, const text_map& map) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : map) {
    if (!first)
      out += ',';
    first = false;
    append_json_string(out, key);
    out += ':';
    append_json_string(out, value);
  }
  out += '}';
}

void write_record(std::string& out, const schema& type, const void* record, json_style style) {
  out += '{';
  bool first = true;
  const void* defaults = style.defaults == json_defaults::left_out ? type.defaults() : nullptr;
  for (const auto& member : type.members) {
    const void* value = member.in(record);
    const bool absent = member.type->kind == shape::optional && member.type->held(value) == nullptr;
    if (member.options.visible > style.viewer || absent)
      continue;
    if (defaults != nullptr && !member.options.mandatory &&
        equal(*member.type, value, member.in(defaults)))
      continue;
    if (!first)
      out += ',';
    first = false;
    // Field names are checked at compile time to need no escapes.
    out += '"';
    out += member.name;
    out += "\":";
    write_json(out, *member.type, value, style);
  }
  out += '}';
}

} // namespace

void write_json(std::string& out, const schema& type, const void* value, json_style style) {
  switch (type.kind) {
  case shape::boolean: out += *static_cast<const bool*>(value) ? "true" : "false"; return;
  case shape::integer: return write_integer(out, type, value);
  case shape::real: {
    // JSON has no infinity and no NaN.
    const auto real = *static_cast<const double*>(value);
    if (std::isfinite(real))
      append_number(out, real);
    else
      out += "null";
    return;
  }
  case shape::enumeration:
    return append_json_string(out, type.enum_name(load_integer(type, value)));
  case shape::text: return append_json_string(out, *static_cast<const std::string*>(value));
  case shape::bytes: return write_bytes(out, *static_cast<const byte_vector*>(value));
  case shape::fixed_bytes:
    return write_bytes(out, {static_cast<const std::uint8_t*>(value), type.size});
  case shape::list: return write_list(out, type, value, style);
  case shape::optional:
    if (const void* held = type.held(value))
      return write_json(out, *type.element, held, style);
    out += "null";
    return;
  case shape::text_map: return write_map(out, *static_cast<const text_map*>(value));
  case shape::record: return write_record(out, type, value, style);
  }
}

} // namespace troupe::codec
