// SPDX-License-Identifier: Apache-2.0
#include "runtime/topology/machine.hpp"

#include <hwloc.h>

#include <algorithm>
#include <memory>
#include <string_view>

namespace troupe::topology {

namespace {

struct destroy_topology {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using topology_handle = std::unique_ptr<hwloc_topology, destroy_topology>;

struct free_bitmap {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using bitmap_handle = std::unique_ptr<hwloc_bitmap_s, free_bitmap>;

topology_handle make_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0)
    return nullptr;
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_OS_DEVICE, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  // These plugins look for X displays, by name service and TCP, too, and start OpenCL drivers; the
  // GPUs that count_gpus() counts come from others.
  for (const char* plugin : {"gl", "opencl"})
    hwloc_topology_set_components(raw, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, plugin);
  return topology_handle(raw);
}

/// CUDA's and NVML's names are for the same devices, RSMI's for others.
std::uint32_t count_gpus(hwloc_topology_t topology) {
  std::uint32_t cuda = 0, nvml = 0, rsmi = 0;
  for (hwloc_obj_t obj = nullptr; (obj = hwloc_get_next_osdev(topology, obj)) != nullptr;) {
    const std::string_view name{obj->name == nullptr ? "" : obj->name};
    cuda += name.starts_with("cuda");
    nvml += name.starts_with("nvml");
    rsmi += name.starts_with("rsmi");
  }
  return std::max(cuda, nvml) + rsmi;
}

auto no_hwloc() {
  return fail(errc::internal, "hwloc cannot be initialised: out of memory?");
}

/// The PUs that hwloc shows as allowed and that this process is bound to, if it is our machine.
bitmap_handle usable_pus(hwloc_topology_t topology) {
  bitmap_handle usable(hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology)));
  if (hwloc_topology_is_thissystem(topology) == 0)
    return usable;
  bitmap_handle bound(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(topology, bound.get(), HWLOC_CPUBIND_PROCESS) == 0 &&
      hwloc_bitmap_intersects(bound.get(), usable.get()) != 0)
    hwloc_bitmap_and(usable.get(), usable.get(), bound.get());
  return usable;
}

std::uint32_t ordinal_above(hwloc_topology_t topology, hwloc_obj_t obj, hwloc_obj_type_t type,
                            std::uint32_t otherwise) {
  auto* above = hwloc_get_ancestor_obj_by_type(topology, type, obj);
  return above == nullptr ? otherwise : above->logical_index;
}

} // namespace

/// Reads a loaded hwloc topology into the value.
struct machine_reader {
  static machine_core read_core(hwloc_topology_t topology, hwloc_obj_t obj,
                                hwloc_const_bitmap_t usable) {
    machine_core core;
    core.socket = ordinal_above(topology, obj, HWLOC_OBJ_PACKAGE, 0);
    core.group = ordinal_above(topology, obj, HWLOC_OBJ_L3CACHE, core.socket);
    for (int pu = hwloc_bitmap_first(obj->cpuset); pu >= 0; pu = hwloc_bitmap_next(obj->cpuset, pu))
      if (hwloc_bitmap_isset(usable, static_cast<unsigned>(pu)) != 0)
        core.pus.push_back(static_cast<std::uint32_t>(pu));
    return core;
  }

  static expected<machine_topology> read(const topology_handle& topology) {
    machine_topology out;
    auto usable = usable_pus(topology.get());
    // Some virtual machines describe PUs without cores.
    auto type = hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE
                                                                             : HWLOC_OBJ_PU;
    for (hwloc_obj_t obj = nullptr;
         (obj = hwloc_get_next_obj_by_type(topology.get(), type, obj)) != nullptr;) {
      auto core = read_core(topology.get(), obj, usable.get());
      if (!core.pus.empty())
        out.cores_.push_back(std::move(core));
    }
    if (out.cores_.empty())
      return fail(errc::invalid, "hwloc shows no core that this process may use; is its CPU "
                                 "affinity or control group empty?");
    out.gpu_count_ = count_gpus(topology.get());
    out.memory_bytes_ = hwloc_get_root_obj(topology.get())->total_memory;
    return out;
  }
};

expected<machine_topology> machine_topology::detect() {
  auto topology = make_topology();
  if (!topology)
    return no_hwloc();
  if (hwloc_topology_load(topology.get()) != 0)
    return fail(errc::internal, "hwloc cannot read this machine's topology; is /sys mounted?");
  return machine_reader::read(topology);
}

expected<machine_topology> machine_topology::from_xml(const std::string& xml) {
  auto topology = make_topology();
  if (!topology)
    return no_hwloc();
  auto length = static_cast<int>(xml.size() + 1);
  if (hwloc_topology_set_xmlbuffer(topology.get(), xml.c_str(), length) != 0 ||
      hwloc_topology_load(topology.get()) != 0)
    return fail(errc::invalid, "the topology is not XML as hwloc writes it (lstopo --of xml)");
  return machine_reader::read(topology);
}

expected<machine_topology> machine_topology::from_synthetic(const std::string& description) {
  auto topology = make_topology();
  if (!topology)
    return no_hwloc();
  if (hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0 ||
      hwloc_topology_load(topology.get()) != 0)
    return fail(errc::invalid, "\"" + description +
                                   "\" is not a synthetic hwloc topology such as "
                                   "\"pack:2 core:4 pu:2\"");
  return machine_reader::read(topology);
}

std::uint32_t machine_topology::pu_count() const {
  std::size_t count = 0;
  for (const auto& core : cores_)
    count += core.pus.size();
  return static_cast<std::uint32_t>(count);
}

} // namespace troupe::topology
