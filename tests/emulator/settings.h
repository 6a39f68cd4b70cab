// What a run of the emulator varies: see inctrl_emulator_configure in driver.cpp.
#pragma once

namespace emulator {

struct Settings {
    // Asynchronous copies land when they are issued (true) or when they are waited for (false).
    bool eager_copies = false;
    // 0: warps take turns at every meeting. Otherwise the seed of random warp priorities and lane orders.
    unsigned schedule = 0;
    // Work of a stream is done when it is queued (true) or when somebody waits for it (false).
    bool eager_streams = false;
};

// Read by launches that begin later.
Settings settings();

}  // namespace emulator
