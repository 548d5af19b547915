// SPDX-License-Identifier: Apache-2.0
// Must not compile: this message has no policy
#include "actors/shell.hpp"

using namespace troupe;

struct reboot_everything {
  using answer = void;
};

using answering = protocol<reboot_everything>;

answering::behavior_type behave(auth::guard_observer& guard) {
  return auth::secure_behavior<answering>(
      guard, auth::on<reboot_everything>([](request<reboot_everything>&) {}));
}
