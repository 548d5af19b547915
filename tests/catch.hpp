// SPDX-License-Identifier: Apache-2.0
#pragma once

// One include for Catch2 2.13 and 3.
#ifdef TROUPE_CATCH2_V3
#include <catch2/catch_all.hpp>
using Catch::Approx; // as 2.13 has it
#else
#include <catch2/catch.hpp>
#endif
