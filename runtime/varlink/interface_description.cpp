// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/interface_description.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace troupe::varlink {

namespace {

constexpr std::size_t text_bytes_max = 1024 * 1024;
constexpr int type_depth_max = 16;

bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}

bool is_letter(char c) {
  return is_upper(c) || (c >= 'a' && c <= 'z');
}

bool is_alphanumeric(char c) {
  return is_letter(c) || (c >= '0' && c <= '9');
}

bool is_member_name(std::string_view name) {
  return !name.empty() && is_upper(name.front()) &&
         std::all_of(name.begin(), name.end(), is_alphanumeric);
}

bool is_field_name(std::string_view name) {
  return !name.empty() && is_letter(name.front()) && name.back() != '_' &&
         name.find("__") == std::string_view::npos;
}

bool is_interface_name(std::string_view name) {
  auto part_is_wrong = [](std::string_view part) {
    return part.empty() || !is_alphanumeric(part.front()) || !is_alphanumeric(part.back());
  };
  std::size_t parts = 0;
  for (auto rest = name;; ++parts) {
    auto dot = rest.find('.');
    if (part_is_wrong(rest.substr(0, dot)))
      return false;
    if (dot == std::string_view::npos)
      return parts >= 1 && is_letter(name.front());
    rest.remove_prefix(dot + 1);
  }
}

class parser {
public:
  explicit parser(std::string_view text) : text_{text} {}

  expected<interface_description> run() {
    interface_description result;
    result.text = std::string{text_};
    if (word() != "interface")
      return wrong("an interface definition begins with 'interface NAME'");
    result.name = interface_word();
    if (!is_interface_name(result.name))
      return wrong("'" + result.name + "' is no interface name; write it like org.example.part");
    while (skip(), position_ < text_.size())
      if (auto done = member(result); !done)
        return tl::unexpected{done.error()};
    if (auto done = references_are_defined(result); !done)
      return tl::unexpected{done.error()};
    return result;
  }

private:
  tl::unexpected<error> wrong(std::string why) const {
    auto before = text_.substr(0, position_);
    auto line = std::count(before.begin(), before.end(), '\n') + 1;
    auto last = before.rfind('\n');
    auto column = last == std::string_view::npos ? position_ + 1 : position_ - last;
    return fail(errc::invalid, "line " + std::to_string(line) + ", column " +
                                   std::to_string(column) + ": " + std::move(why));
  }

  void skip() {
    while (position_ < text_.size()) {
      auto c = text_[position_];
      if (c == '#')
        position_ = std::min(text_.find('\n', position_), text_.size());
      else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        ++position_;
      else
        return;
    }
  }

  bool take(std::string_view token) {
    skip();
    if (text_.substr(position_, token.size()) != token)
      return false;
    position_ += token.size();
    return true;
  }

  template <class Allowed>
  std::string run_of(Allowed allowed) {
    skip();
    auto begin = position_;
    while (position_ < text_.size() && allowed(text_[position_]))
      ++position_;
    return std::string{text_.substr(begin, position_ - begin)};
  }

  std::string word() {
    return run_of([](char c) { return is_alphanumeric(c) || c == '_'; });
  }

  std::string interface_word() {
    return run_of([](char c) { return is_alphanumeric(c) || c == '.' || c == '-'; });
  }

  expected<void> member(interface_description& into) {
    auto keyword = word();
    if (keyword != "method" && keyword != "type" && keyword != "error")
      return wrong("expected 'method', 'type' or 'error', found '" + keyword + "'");
    auto name = word();
    if (!is_member_name(name))
      return wrong("'" + name + "' is no name for a " + keyword +
                   "; it must begin with a capital letter");
    if (!names_.insert(name).second)
      return wrong("'" + name + "' is defined twice");
    auto first = parenthesised();
    if (!first)
      return tl::unexpected{first.error()};
    if (first->what == idl_type::kind::enumeration && keyword != "type")
      return wrong("a " + keyword + " takes fields with types");
    if (keyword == "type")
      into.types.push_back({name, std::move(*first)});
    else if (keyword == "error")
      into.errors.push_back({name, std::move(*first)});
    else
      return method(into, name, std::move(*first));
    return {};
  }

  expected<void> method(interface_description& into, const std::string& name, idl_type input) {
    if (!take("->"))
      return wrong("expected '->' and what method '" + name + "' answers");
    auto output = parenthesised();
    if (!output)
      return tl::unexpected{output.error()};
    if (output->what == idl_type::kind::enumeration)
      return wrong("method '" + name + "' must answer fields with types");
    into.methods.push_back({name, std::move(input), std::move(*output)});
    return {};
  }

  // A structure "(a: int, b: string)" or an enumeration "(a, b)"; "()" is an empty structure.
  expected<idl_type> parenthesised() {
    if (!take("("))
      return wrong("expected '('");
    idl_type result;
    result.what = idl_type::kind::structure;
    if (take(")"))
      return result;
    std::set<std::string> seen;
    bool first = true;
    do {
      auto name = word();
      if (!is_field_name(name))
        return wrong("'" + name + "' is no name for a field");
      if (!seen.insert(name).second)
        return wrong("field '" + name + "' stands twice");
      bool typed = take(":");
      if (std::exchange(first, false))
        result.what = typed ? idl_type::kind::structure : idl_type::kind::enumeration;
      if (typed != (result.what == idl_type::kind::structure))
        return wrong("either every field has a type or none has");
      if (!typed) {
        result.values.push_back(std::move(name));
        continue;
      }
      auto field_type = type();
      if (!field_type)
        return field_type;
      result.fields.push_back({std::move(name), std::move(*field_type)});
    } while (take(","));
    if (!take(")"))
      return wrong("expected ',' or ')'");
    return result;
  }

  expected<idl_type> wrapped(idl_type::kind what) {
    auto inner = type();
    if (!inner)
      return inner;
    if (what == idl_type::kind::optional && inner->what == what)
      return wrong("'?' stands twice");
    idl_type result;
    result.what = what;
    result.element.push_back(std::move(*inner));
    return result;
  }

  expected<idl_type> type() {
    if (++depth_ > type_depth_max)
      return wrong("types are nested deeper than " + std::to_string(type_depth_max));
    auto result = type_here();
    --depth_;
    return result;
  }

  expected<idl_type> type_here() {
    if (take("?"))
      return wrapped(idl_type::kind::optional);
    if (take("[]"))
      return wrapped(idl_type::kind::array);
    if (take("[string]"))
      return wrapped(idl_type::kind::map);
    skip();
    if (position_ < text_.size() && text_[position_] == '(')
      return parenthesised();
    return named(word());
  }

  expected<idl_type> named(std::string name) {
    using kind = idl_type::kind;
    static constexpr std::array<std::pair<std::string_view, kind>, 5> basic{
        {{"bool", kind::boolean},
         {"int", kind::integer},
         {"float", kind::real},
         {"string", kind::string},
         {"object", kind::object}}};
    idl_type result;
    for (auto [word, what] : basic)
      if (word == name) {
        result.what = what;
        return result;
      }
    if (!is_member_name(name))
      return wrong("'" + name + "' is no type");
    result.what = kind::named;
    result.name = std::move(name);
    mentioned_.insert(result.name);
    return result;
  }

  expected<void> references_are_defined(const interface_description& in) const {
    for (const auto& name : mentioned_)
      if (in.find_type(name) == nullptr)
        return fail(errc::invalid, "type '" + name + "' is used but not defined in " + in.name);
    return {};
  }

  std::string_view text_;
  std::size_t position_ = 0;
  int depth_ = 0;
  std::set<std::string> names_;
  std::set<std::string> mentioned_;
};

template <class T>
const T* find_named(const std::vector<T>& in, std::string_view name) {
  auto at = std::find_if(in.begin(), in.end(), [&](const T& one) { return one.name == name; });
  return at == in.end() ? nullptr : &*at;
}

} // namespace

const idl_method* interface_description::find_method(std::string_view member) const {
  return find_named(methods, member);
}

const idl_definition* interface_description::find_type(std::string_view type_name) const {
  return find_named(types, type_name);
}

expected<interface_description> parse_interface(std::string_view text) {
  if (text.size() > text_bytes_max)
    return fail(errc::invalid, "an interface definition of " + std::to_string(text.size()) +
                                   " bytes, the limit is " + std::to_string(text_bytes_max));
  return parser{text}.run();
}

} // namespace troupe::varlink
