// SPDX-License-Identifier: Apache-2.0
// Must not compile: this message has no policy
#include "actors/shell.hpp"

using namespace troupe;

struct reboot_everything {
  using answer = void;
};

// It says which verb, but not who.
template <>
struct troupe::auth::policy<reboot_everything> {
  static constexpr verb own = verb::cluster_stop;
  static constexpr verb any = verb::cluster_stop;
};

auto handler = auth::on<reboot_everything>([](request<reboot_everything>&) {});
