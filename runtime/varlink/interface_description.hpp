// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

// The interface definition language (https://varlink.org/Interface-Definition) read strictly: what
// `org.varlink.service` shows to the world is well-formed, and tests compare it with what the code
// decodes.

namespace troupe::varlink {

struct idl_field;

/// One type as written in an interface definition.
struct idl_type {
  enum class kind {
    boolean,
    integer,
    real,
    string,
    object,
    named,
    structure,
    enumeration,
    array,
    map,
    optional
  };

  kind what = kind::object;
  std::string name;                ///< of a named type
  std::vector<idl_field> fields;   ///< of a structure
  std::vector<std::string> values; ///< of an enumeration
  std::vector<idl_type> element;   ///< one, for array, map and optional
};

struct idl_field {
  std::string name;
  idl_type type;
};

/// A method, an error or a type definition.
struct idl_method {
  std::string name;
  idl_type input;  ///< a structure
  idl_type output; ///< a structure
};

struct idl_definition {
  std::string name;
  idl_type type; ///< a structure, or for types also an enumeration
};

/// One interface definition, parsed and checked.
struct interface_description {
  std::string name;
  std::string text; ///< as written, comments included
  std::vector<idl_method> methods;
  std::vector<idl_definition> types;
  std::vector<idl_definition> errors;

  const idl_method* find_method(std::string_view member) const;
  const idl_definition* find_type(std::string_view type_name) const;
};

/// Parses one definition. Errors name line and column. Beyond syntax it checks that no name is
/// defined twice and that every type mentioned is defined.
expected<interface_description> parse_interface(std::string_view text);

} // namespace troupe::varlink
