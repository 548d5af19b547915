// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/schema.hpp"

#include <string>

// Varlink type texts from field lists, to generate interface files and to compare them with the
// code.

namespace troupe {

/// Which side writes the object: a request may leave out what is not mandatory, a reply has every
/// field the viewer may see.
enum class direction { request, reply };

namespace codec {

std::string describe(const schema& type, direction way);
std::string describe_record(const schema& type, direction way);

} // namespace codec

/// The Varlink struct of T: "(nodes: ?int, argv: []string)". Nested structs with a type_name are
/// named, others are written in place. `?` marks what may be absent.
template <fielded T>
std::string describe(direction way = direction::request) {
  return codec::describe_record(codec::schema_of<T>, way);
}

/// The Varlink enum of T: "(pending, running)".
template <class T>
requires std::is_enum_v<T> std::string describe() {
  return codec::describe(codec::schema_of<T>, direction::request);
}

} // namespace troupe
