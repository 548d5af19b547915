# SPDX-License-Identifier: Apache-2.0
# cmake -DOUTPUT=… -DFILES=a;b -P embed.cmake: writes the interface definitions as one C++ file.
set(entries "")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  file(READ ${file} text)
  string(APPEND entries "  {\"${name}\", R\"varlink(${text})varlink\"},\n")
endforeach()
set(body "// Generated from messages/varlink. Change the definitions there.
#include <array>

#include \"runtime/varlink/service_registry.hpp\"

namespace troupe::varlink {

std::span<const embedded_interface> embedded_interfaces() {
  static constexpr embedded_interface interfaces[] = {
${entries}    {{}, {}}};
  return {interfaces, std::size(interfaces) - 1};
}

} // namespace troupe::varlink
")
file(WRITE ${OUTPUT} "${body}")
