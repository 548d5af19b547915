// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/cluster_calls.hpp"
#include "messages/job_calls.hpp"

// The Varlink methods: what the command line and every other program outside asks. One struct per
// method with its parameters, `reply` beside it; messages/varlink/*.varlink are written from them
// and a test compares the two.
