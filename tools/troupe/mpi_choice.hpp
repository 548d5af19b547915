// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <string>

namespace troupe::cli {

/// What a program's libraries say about how its ranks find each other: PMIx for Open MPI and for
/// what links libpmix itself, PMI-1 for MPICH, else none. Looks at the program as the caller may
/// read it and at the libraries it names, a few levels deep; runs nothing. `path` is where a name
/// without a slash is looked up.
mpi_mode mpi_of_program(const std::string& program, const std::string& directory,
                        const std::string& path);

} // namespace troupe::cli
