// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// What a rank says before it becomes the user's program, and to whom. Freestanding: the stub has no
// run time of the C++ library.

namespace troupe::stub {

inline constexpr int channel_fd = 3; ///< sending end of the stub channel, SOCK_SEQPACKET
inline constexpr int error_fd = 4;   ///< the launcher's pipe for failed starts; closes on exec

/// First in every hello: "TRS1".
inline constexpr std::uint32_t hello_magic = 0x31535254;

/// One packet on the stub channel, with three descriptors as SCM_RIGHTS: one half of a stream
/// socketpair, and the rank's standard output and error, for what it logs through PMIx. On the
/// other half the shepherd answers { u32 bytes, u32 words, u32 flags, little-endian, then `bytes`
/// of texts that each end with a NUL }. The first `words` of them, if any, are a directory ("":
/// stay here) and a command instead of the stub's own: a spawned step may have several programs.
/// The others are variables: "K=V" sets, "K" removes, "P*" removes all that begin with P; removals
/// are done first. PMI_FD= gets the number of the stub's half, which then stays open over the exec.
/// A close without an answer: the rank is not to run.
struct hello {
  std::uint32_t magic = hello_magic;
  std::uint32_t step = 0;
  std::uint32_t local_rank = 0;
};
static_assert(sizeof(hello) == 12);
inline constexpr unsigned hello_descriptors = 3;

struct answer_head {
  std::uint32_t bytes = 0;
  std::uint32_t words = 0;
  std::uint32_t flags = 0;
};
static_assert(sizeof(answer_head) == 12);

/// The rank is a daemon of an mpirun's: where that goes by the names of hosts it takes its node's.
inline constexpr std::uint32_t flag_own_host_name = 1;

inline constexpr std::uint32_t environment_bytes_max = 1u << 20;
inline constexpr int deadline_s = 30;

/// As the launcher's own children report a failed start (its `child_failure`), but for the rank,
/// which a stub does not know: the pid names it.
struct start_failure {
  std::uint32_t rank_index = 0xffffffff;
  std::int32_t pid = 0;
  std::uint32_t stage = 0; ///< launch::start_stage
  std::int32_t error = 0;
  std::uint32_t length = 0;
  char text[480] = {};
};
inline constexpr std::uint32_t stage_exec = 11; ///< launch::start_stage::exec

} // namespace troupe::stub
