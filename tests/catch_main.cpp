// SPDX-License-Identifier: Apache-2.0
// Catch2 3 brings its own main(); version 2 has it compiled here, once.
#ifndef TROUPE_CATCH2_V3
#define CATCH_CONFIG_MAIN
#endif
#include "tests/catch.hpp"
