// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/interface_description.hpp"

namespace troupe::varlink {

/// One file of messages/varlink, compiled into the program.
struct embedded_interface {
  std::string_view file; ///< "org.troupe.jobs.varlink"
  std::string_view text;
};

/// All of messages/varlink.
std::span<const embedded_interface> embedded_interfaces();

/// What org.varlink.service.GetInfo says about this program.
struct service_info {
  std::string vendor;
  std::string product;
  std::string version;
  std::string url;
};

/// The interfaces a server has. Immutable once made: any number of connections may share it.
class service_registry {
public:
  /// Parses every interface. Errors name file, line and column: the program should not start with
  /// one.
  static expected<service_registry> make(service_info info,
                                         std::span<const embedded_interface> interfaces);

  /// Finds the method that `what` asks for. Where there is nothing left to do for the caller,
  /// because the method belongs to org.varlink.service or does not exist, it appends the reply and
  /// answers nullptr.
  const idl_method* resolve(const call& what, std::string& out) const;

  /// Every interface, org.varlink.service included, by name.
  const std::map<std::string, interface_description, std::less<>>& interfaces() const {
    return interfaces_;
  }

private:
  void answer_service(const call& what, std::string& out) const;
  void answer_description(const call& what, std::string& out) const;

  std::map<std::string, interface_description, std::less<>> interfaces_;
  std::string info_;
};

} // namespace troupe::varlink
