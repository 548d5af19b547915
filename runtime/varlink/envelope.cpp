// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/envelope.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "messages/json.hpp"
#include "messages/json_scan.hpp"

namespace troupe::varlink {

namespace {

constexpr std::size_t name_bytes_max = 255;

expected<bool> read_flag(json_scanner& in, std::string_view key) {
  auto text = in.value();
  if (!text)
    return tl::unexpected{text.error()};
  if (*text == "true")
    return true;
  if (*text == "false" || *text == "null")
    return false;
  return fail(errc::invalid, "'" + std::string{key} + "' must be true or false");
}

expected<std::string_view> read_object(json_scanner& in, std::string_view key) {
  auto text = in.value();
  if (!text)
    return text;
  if (*text == "null")
    return std::string_view{"{}"};
  if (text->front() != '{')
    return fail(errc::invalid, "'" + std::string{key} + "' must be an object");
  return text;
}

// Names of methods and errors: "reverse.domain.Member". No escapes are needed for these, so none
// are accepted.
expected<std::string_view> read_name(json_scanner& in, std::string_view key) {
  auto text = in.raw_string();
  if (!text)
    return text;
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-';
  };
  auto dot = text->rfind('.');
  if (text->size() > name_bytes_max)
    return fail(errc::invalid, "'" + std::string{key} + "' has " + std::to_string(text->size()) +
                                   " bytes, the limit is " + std::to_string(name_bytes_max));
  if (!std::all_of(text->begin(), text->end(), allowed) || dot == std::string_view::npos ||
      dot == 0 || dot + 1 == text->size())
    return fail(errc::invalid, "'" + std::string{key} + "' must be a name like org.example.Member");
  return text;
}

// Calls `member(key)` for each member of the one object that the frame must be; the callee reads
// the value.
template <class F>
expected<void> for_each_member(json_scanner& in, F&& member) {
  if (!in.take('{'))
    return fail(errc::invalid, "a message must be a JSON object");
  if (!in.take('}')) {
    do {
      auto key = in.raw_string();
      if (!key)
        return tl::unexpected{key.error()};
      if (!in.take(':'))
        return fail(errc::invalid,
                    "not valid JSON: expected ':' at byte " + std::to_string(in.position()));
      if (auto read = member(*key); !read)
        return read;
    } while (in.take(','));
    if (!in.take('}'))
      return fail(errc::invalid,
                  "not valid JSON: expected ',' or '}' at byte " + std::to_string(in.position()));
  }
  if (!in.at_end())
    return fail(errc::invalid,
                "not valid JSON: text after the object at byte " + std::to_string(in.position()));
  return {};
}

template <class T>
expected<void> store(expected<T> from, T& to) {
  if (!from)
    return tl::unexpected{from.error()};
  to = *from;
  return {};
}

void append_members(std::string& out, std::string_view parameters) {
  out += "{\"parameters\":";
  out += parameters;
}

void finish(std::string& out) {
  out += '}';
  out += '\0';
}

std::string text_of(const nlohmann::json& from, const char* key) {
  auto at = from.find(key);
  return at != from.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

errc code_named(std::string_view name) {
  for (auto code : {errc::invalid, errc::refused, errc::not_found, errc::conflict, errc::exhausted,
                    errc::storage, errc::unreachable})
    if (name == to_string(code))
      return code;
  return errc::internal;
}

application_error standard(std::string_view name, const nlohmann::json& parameters) {
  if (name == standard_error::interface_not_found)
    return {errc::not_found, "interface_not_found",
            "the cluster does not have the interface '" + text_of(parameters, "interface") + "'"};
  if (name == standard_error::method_not_found || name == standard_error::method_not_implemented)
    return {errc::not_found, "method_not_found",
            "the cluster does not have the method '" + text_of(parameters, "method") + "'"};
  if (name == standard_error::invalid_parameter)
    return {errc::invalid, "invalid_parameter",
            "the cluster does not accept the parameter '" + text_of(parameters, "parameter") + "'"};
  return {errc::internal, std::string{name},
          "the cluster answered with the error " + std::string{name}};
}

} // namespace

std::string_view call::interface_name() const {
  auto dot = method.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : method.substr(0, dot);
}

std::string_view call::member() const {
  auto dot = method.rfind('.');
  return dot == std::string_view::npos ? method : method.substr(dot + 1);
}

expected<call> parse_call(std::string_view frame) {
  static constexpr std::array<std::string_view, 5> keys{"method", "parameters", "oneway", "more",
                                                        "upgrade"};
  std::array<bool, keys.size()> seen{};
  call result;
  json_scanner in{frame};
  auto member = [&](std::string_view key) -> expected<void> {
    auto index = static_cast<std::size_t>(std::find(keys.begin(), keys.end(), key) - keys.begin());
    if (index == keys.size())
      return fail(errc::invalid,
                  "'" + std::string{key.substr(0, name_bytes_max)} + "' is no field of a call");
    if (std::exchange(seen[index], true))
      return fail(errc::invalid, "'" + std::string{key} + "' stands twice in a call");
    switch (index) {
    case 0: return store(read_name(in, key), result.method);
    case 1: return store(read_object(in, key), result.parameters);
    case 2: return store(read_flag(in, key), result.oneway);
    case 3: return store(read_flag(in, key), result.more);
    default: return store(read_flag(in, key), result.upgrade);
    }
  };
  if (auto done = for_each_member(in, member); !done)
    return tl::unexpected{done.error()};
  if (result.method.empty())
    return fail(errc::invalid, "a call must have a 'method'");
  return result;
}

expected<reply> parse_reply(std::string_view frame) {
  reply result;
  json_scanner in{frame};
  auto member = [&](std::string_view key) -> expected<void> {
    if (key == "parameters")
      return store(read_object(in, key), result.parameters);
    if (key == "error")
      return store(read_name(in, key), result.error);
    if (key == "continues")
      return store(read_flag(in, key), result.continues);
    return in.value().map([](std::string_view) {});
  };
  if (auto done = for_each_member(in, member); !done)
    return tl::unexpected{done.error()};
  return result;
}

void append_call(std::string& out, const call& what) {
  out += "{\"method\":\"";
  out += what.method;
  out += "\",\"parameters\":";
  out += what.parameters;
  if (what.oneway)
    out += ",\"oneway\":true";
  if (what.more)
    out += ",\"more\":true";
  if (what.upgrade)
    out += ",\"upgrade\":true";
  finish(out);
}

void append_reply(std::string& out, std::string_view parameters) {
  append_members(out, parameters);
  finish(out);
}

void append_continued_reply(std::string& out, std::string_view parameters) {
  append_members(out, parameters);
  out += ",\"continues\":true";
  finish(out);
}

void append_error(std::string& out, std::string_view name, std::string_view parameters) {
  append_members(out, parameters);
  out += ",\"error\":\"";
  out += name;
  out += '"';
  finish(out);
}

void append_error(std::string& out, const application_error& what) {
  std::string parameters = "{\"code\":";
  append_json_string(parameters, to_string(what.code));
  parameters += ",\"reason\":";
  append_json_string(parameters, what.reason);
  parameters += ",\"message\":";
  append_json_string(parameters, what.message);
  parameters += '}';
  append_error(out, application_error_name, parameters);
}

void append_invalid_parameter(std::string& out, std::string_view name) {
  std::string parameters = "{\"parameter\":";
  append_json_string(parameters, name);
  parameters += '}';
  append_error(out, standard_error::invalid_parameter, parameters);
}

application_error to_application_error(const reply& from) {
  auto parameters = nlohmann::json::parse(from.parameters, nullptr, false);
  if (!parameters.is_object())
    parameters = nlohmann::json::object();
  if (from.error != application_error_name)
    return standard(from.error, parameters);
  return {code_named(text_of(parameters, "code")), text_of(parameters, "reason"),
          text_of(parameters, "message")};
}

} // namespace troupe::varlink
