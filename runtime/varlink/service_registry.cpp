// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/service_registry.hpp"

#include <nlohmann/json.hpp>

#include "messages/json.hpp"

namespace troupe::varlink {

namespace {

constexpr std::string_view service_interface = "org.varlink.service";

// As published at https://varlink.org/Service.
constexpr embedded_interface service_definition{
    "org.varlink.service.varlink",
    R"(# Every service has this interface: what it is and what it can do.
interface org.varlink.service

# Who made this service, and which interfaces it has.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# The definition of one interface, as text.
method GetInterfaceDescription(interface: string) -> (description: string)

# The interface asked for does not exist.
error InterfaceNotFound (interface: string)

# The method asked for does not exist in its interface.
error MethodNotFound (method: string)

# The interface has the method, but this service does not.
error MethodNotImplemented (method: string)

# A parameter of the call is not acceptable.
error InvalidParameter (parameter: string)
)"};

void append_named_error(std::string& out, std::string_view error, std::string_view key,
                        std::string_view value) {
  std::string parameters = "{\"" + std::string{key} + "\":";
  append_json_string(parameters, value);
  parameters += '}';
  append_error(out, error, parameters);
}

std::string encode(const service_info& info, const std::vector<std::string>& interfaces) {
  nlohmann::ordered_json value{{"vendor", info.vendor},
                               {"product", info.product},
                               {"version", info.version},
                               {"url", info.url},
                               {"interfaces", interfaces}};
  return value.dump();
}

} // namespace

expected<service_registry> service_registry::make(service_info info,
                                                  std::span<const embedded_interface> interfaces) {
  service_registry result;
  std::vector<embedded_interface> all{service_definition};
  all.insert(all.end(), interfaces.begin(), interfaces.end());
  std::vector<std::string> names;
  for (const auto& one : all) {
    auto parsed = parse_interface(one.text);
    if (!parsed)
      return fail(errc::invalid, std::string{one.file} + ": " + parsed.error().text);
    if (one.file != parsed->name + ".varlink")
      return fail(errc::invalid, std::string{one.file} + ": defines the interface " + parsed->name +
                                     ", so it must be named " + parsed->name + ".varlink");
    names.push_back(parsed->name);
    if (!result.interfaces_.emplace(parsed->name, std::move(*parsed)).second)
      return fail(errc::invalid, std::string{one.file} + ": the interface is defined twice");
  }
  result.info_ = encode(info, names);
  return result;
}

const idl_method* service_registry::resolve(const call& what, std::string& out) const {
  auto found = interfaces_.find(what.interface_name());
  if (found == interfaces_.end()) {
    append_named_error(out, standard_error::interface_not_found, "interface",
                       what.interface_name());
    return nullptr;
  }
  const auto* method = found->second.find_method(what.member());
  if (method == nullptr) {
    append_named_error(out, standard_error::method_not_found, "method", what.method);
    return nullptr;
  }
  if (found->first != service_interface)
    return method;
  answer_service(what, out);
  return nullptr;
}

void service_registry::answer_service(const call& what, std::string& out) const {
  if (what.member() == "GetInfo")
    append_reply(out, info_);
  else
    answer_description(what, out);
}

void service_registry::answer_description(const call& what, std::string& out) const {
  auto parameters = nlohmann::json::parse(what.parameters, nullptr, false);
  auto name = parameters.is_object() ? parameters.find("interface") : parameters.end();
  if (name == parameters.end() || !name->is_string())
    return append_invalid_parameter(out, "interface");
  auto wanted = name->get<std::string>();
  auto found = interfaces_.find(wanted);
  if (found == interfaces_.end())
    return append_named_error(out, standard_error::interface_not_found, "interface", wanted);
  std::string answer = "{\"description\":";
  append_json_string(answer, found->second.text);
  answer += '}';
  append_reply(out, answer);
}

} // namespace troupe::varlink
