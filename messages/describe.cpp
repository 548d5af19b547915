// SPDX-License-Identifier: Apache-2.0
#include "messages/describe.hpp"

namespace troupe::codec {

namespace {

bool may_be_absent(const member_schema& member, direction way) {
  if (member.type->kind == shape::optional)
    return true;
  if (way == direction::reply)
    return member.options.visible != visibility::public_;
  return !member.options.mandatory;
}

} // namespace

std::string describe_record(const schema& type, direction way) {
  std::string text = "(";
  for (const auto& member : type.members) {
    if (text.size() > 1)
      text += ", ";
    text += member.name;
    text += may_be_absent(member, way) ? ": ?" : ": ";
    const auto& shown = member.type->kind == shape::optional ? *member.type->element : *member.type;
    text += describe(shown, way);
  }
  return text + ")";
}

std::string describe(const schema& type, direction way) {
  switch (type.kind) {
  case shape::boolean: return "bool";
  case shape::integer: return "int";
  case shape::real: return "float";
  case shape::text:
  case shape::bytes:
  case shape::fixed_bytes: return "string";
  case shape::text_map: return "[string]string";
  case shape::list: return "[]" + describe(*type.element, way);
  case shape::optional: return "?" + describe(*type.element, way);
  case shape::record:
    return type.type_name.empty() ? describe_record(type, way) : std::string{type.type_name};
  case shape::enumeration: break;
  }
  std::string text = "(";
  for (const auto name : enum_names(type))
    text += (text.size() > 1 ? ", " : "") + std::string{name};
  return text + ")";
}

} // namespace troupe::codec
