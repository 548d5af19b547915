// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "runtime/varlink/service_registry.hpp"
#include "tests/catch.hpp"

using namespace troupe;
using namespace troupe::varlink;

namespace {

constexpr std::string_view sample = R"(# A sample.
interface org.example.sample

type Row (name: string, cores: ?[]int, labels: [string]string, state: State)
type State (up, down)

# Lists rows.
method List(filter: ?(name: string), all: bool) -> (rows: []Row)
method Stop() -> ()
error Refused (why: string, detail: object)
)";

constexpr embedded_interface sample_file{"org.example.sample.varlink", sample};

service_registry registry() {
  return *service_registry::make({"vendor", "product", "1", "url"}, {&sample_file, 1});
}

nlohmann::json answer_to(const service_registry& from, std::string_view frame) {
  std::string out;
  CHECK(from.resolve(*parse_call(frame), out) == nullptr);
  REQUIRE(!out.empty());
  out.pop_back();
  return nlohmann::json::parse(out);
}

} // namespace

TEST_CASE("an interface definition gives its methods, types and errors") {
  auto parsed = parse_interface(sample);
  REQUIRE(parsed);
  CHECK(parsed->name == "org.example.sample");
  REQUIRE(parsed->methods.size() == 2);
  const auto* list = parsed->find_method("List");
  REQUIRE(list != nullptr);
  REQUIRE(list->input.fields.size() == 2);
  CHECK(list->input.fields[0].type.what == idl_type::kind::optional);
  CHECK(list->input.fields[0].type.element[0].what == idl_type::kind::structure);
  CHECK(list->output.fields[0].type.what == idl_type::kind::array);
  CHECK(list->output.fields[0].type.element[0].name == "Row");
  REQUIRE(parsed->find_type("State") != nullptr);
  CHECK(parsed->find_type("State")->type.values == std::vector<std::string>{"up", "down"});
  CHECK(parsed->errors.size() == 1);
}

TEST_CASE("a definition with a mistake is refused naming line and column") {
  struct mistake {
    const char* text;
    const char* complaint;
  };
  for (auto [text, complaint] :
       {mistake{"method A() -> ()", "line 1"}, mistake{"interface single", "no interface name"},
        mistake{"interface a.b\nmethod lower() -> ()", "line 2"},
        mistake{"interface a.b\nmethod A()", "'->'"},
        mistake{"interface a.b\ntype T (a: int, a: int)", "twice"},
        mistake{"interface a.b\ntype T (a: Unknown)", "not defined"},
        mistake{"interface a.b\ntype T (a: int, b)", "either"},
        mistake{"interface a.b\ntype T (a: ??int)", "twice"},
        mistake{"interface a.b\ntype T (a: int", "')'"},
        mistake{"interface a.b\ntype T ()\ntype T ()", "defined twice"},
        mistake{"interface a.b\nerror E (a, b)", "types"},
        mistake{"interface a.b\nstruct", "expected 'method'"}}) {
    INFO(text);
    auto parsed = parse_interface(text);
    REQUIRE_FALSE(parsed);
    INFO(parsed.error().text);
    CHECK(parsed.error().text.find(complaint) != std::string::npos);
  }
}

TEST_CASE("deep types are refused") {
  std::string text = "interface a.b\ntype T (a: ";
  for (int i = 0; i < 100'000; ++i)
    text += "[]";
  CHECK_FALSE(parse_interface(text + "int)"));
}

TEST_CASE("every interface that is compiled in is well-formed") {
  auto made = service_registry::make({}, embedded_interfaces());
  INFO((made ? std::string{} : made.error().text));
  CHECK(made);
}

TEST_CASE("a file must be named after its interface") {
  embedded_interface misnamed{"other.varlink", sample};
  CHECK_FALSE(service_registry::make({}, {&misnamed, 1}));
}

TEST_CASE("the service interface describes the program and its interfaces") {
  auto service = registry();
  auto info = answer_to(service, R"({"method":"org.varlink.service.GetInfo"})");
  CHECK(info["parameters"]["vendor"] == "vendor");
  CHECK(info["parameters"]["interfaces"] ==
        nlohmann::json{"org.varlink.service", "org.example.sample"});
  auto text = answer_to(service, R"({"method":"org.varlink.service.GetInterfaceDescription",
                                     "parameters":{"interface":"org.example.sample"}})");
  CHECK(text["parameters"]["description"] == sample);
}

TEST_CASE("calls of what does not exist get the standard errors") {
  auto service = registry();
  auto no_interface = answer_to(service, R"({"method":"org.example.other.List"})");
  CHECK(no_interface["error"] == standard_error::interface_not_found);
  CHECK(no_interface["parameters"]["interface"] == "org.example.other");
  auto no_method = answer_to(service, R"({"method":"org.example.sample.Nothing"})");
  CHECK(no_method["error"] == standard_error::method_not_found);
  auto bad = answer_to(
      service, R"({"method":"org.varlink.service.GetInterfaceDescription","parameters":{}})");
  CHECK(bad["error"] == standard_error::invalid_parameter);
}

TEST_CASE("a call of an existing method is left to the server") {
  std::string out;
  auto service = registry();
  const auto* method = service.resolve(*parse_call(R"({"method":"org.example.sample.Stop"})"), out);
  REQUIRE(method != nullptr);
  CHECK(method->name == "Stop");
  CHECK(out.empty());
}
