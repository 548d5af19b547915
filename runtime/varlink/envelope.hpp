// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

// What stands around the parameters of a Varlink message (https://varlink.org/Method-Call).
// Parameters are passed on as JSON text: the method's own decoder reads them straight into its
// struct, its encoder writes them.

namespace troupe::varlink {

/// A method call. The views lie in the frame it was parsed from.
struct call {
  std::string_view method;            ///< "org.troupe.jobs.Submit"
  std::string_view parameters = "{}"; ///< one JSON object
  bool oneway = false;                ///< the caller wants no reply
  bool more = false;                  ///< the caller accepts several replies
  bool upgrade = false; ///< the caller wants the connection for another protocol afterwards

  /// "org.troupe.jobs" of the method above.
  std::string_view interface_name() const;
  /// "Submit" of the method above.
  std::string_view member() const;
};

/// A reply. The views lie in the frame it was parsed from.
struct reply {
  std::string_view parameters = "{}"; ///< one JSON object
  std::string_view error;             ///< name of an error, empty for success
  bool continues = false;             ///< more replies to this call follow
};

/// Reads a frame as a call. A field unknown, repeated or of the wrong type is an error: the peer
/// does not speak this protocol, the connection is of no further use.
expected<call> parse_call(std::string_view frame);

/// Reads a frame as a reply; unknown fields are passed over.
expected<reply> parse_reply(std::string_view frame);

/// The standard errors (https://varlink.org/Service).
namespace standard_error {
inline constexpr std::string_view interface_not_found = "org.varlink.service.InterfaceNotFound";
inline constexpr std::string_view method_not_found = "org.varlink.service.MethodNotFound";
inline constexpr std::string_view method_not_implemented =
    "org.varlink.service.MethodNotImplemented";
inline constexpr std::string_view invalid_parameter = "org.varlink.service.InvalidParameter";
} // namespace standard_error

/// Every error of Troupe itself: {code, reason, message}.
inline constexpr std::string_view application_error_name = "org.troupe.Error";

/// An error of Troupe as it crosses the wire.
struct application_error {
  errc code = errc::internal;
  std::string reason;  ///< a stable word for programs: "capability_expired"; may be empty
  std::string message; ///< a sentence for people
};

/// Appends the frame of a call, its NUL included. `parameters` is one JSON object.
void append_call(std::string& out, const call& what);

/// Appends the frame of a successful reply. `parameters` is one JSON object.
void append_reply(std::string& out, std::string_view parameters);

/// The same, with more replies to follow.
void append_continued_reply(std::string& out, std::string_view parameters);

/// Appends the frame of an error reply. `parameters` is one JSON object.
void append_error(std::string& out, std::string_view name, std::string_view parameters);

void append_error(std::string& out, const application_error& what);

/// org.varlink.service.InvalidParameter for the parameter `name`.
void append_invalid_parameter(std::string& out, std::string_view name);

/// Reads an error reply back: an application error as it was sent, a standard error as a sentence.
application_error to_application_error(const reply& from);

} // namespace troupe::varlink
