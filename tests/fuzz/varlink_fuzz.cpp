// SPDX-License-Identifier: Apache-2.0
// Everything of the command line's boundary that reads bytes from a peer. The first byte chooses
// where the stream is cut.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "messages/json_scan.hpp"
#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/frame_reader.hpp"
#include "runtime/varlink/interface_description.hpp"

using namespace troupe::varlink;

namespace {

void must(bool holds) {
  if (!holds)
    std::abort();
}

// Where both accept or refuse for the same reason, this scanner and the JSON library must agree.
void compare_with_library(std::string_view text) {
  if (text.find('\0') != std::string_view::npos || text.substr(0, 3) == "\xef\xbb\xbf")
    return;
  troupe::json_scanner scanner{text};
  bool scanned = scanner.value().has_value() && scanner.at_end();
  if (!scanned)
    return;
  try {
    (void)nlohmann::json::parse(text);
  } catch (const nlohmann::json::out_of_range&) {
    // A number too large for a double is still JSON; the method's decoder refuses it.
  } catch (const nlohmann::json::exception&) {
    must(false);
  }
}

void split_in_two_ways(std::string_view stream, std::size_t cut) {
  std::vector<std::string> whole;
  std::vector<std::string> parts;
  frame_reader once{4096};
  frame_reader twice{4096};
  auto into = [](std::vector<std::string>& to) {
    return [&to](std::string_view frame) {
      to.emplace_back(frame);
      return true;
    };
  };
  bool fine_once = once.feed(stream, into(whole)).has_value();
  bool fine_twice = twice.feed(stream.substr(0, cut), into(parts)).has_value() &&
                    twice.feed(stream.substr(cut), into(parts)).has_value();
  must(fine_once == fine_twice && whole == parts);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0)
    return 0;
  std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
  split_in_two_ways(text, text.empty() ? 0 : data[0] % text.size());
  compare_with_library(text);
  if (auto parsed = parse_call(text)) {
    std::string again;
    append_call(again, *parsed);
    must(parse_call(std::string_view{again}.substr(0, again.size() - 1)).has_value());
  }
  if (auto parsed = parse_reply(text); parsed && !parsed->error.empty())
    (void)to_application_error(*parsed);
  (void)parse_interface(text);
  return 0;
}
