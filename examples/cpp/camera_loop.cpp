// Two cameras, one engine: each camera has a thread and a scorer; the bank is replaced while they run.
//
//     camera_loop weights.safetensors [frames]
//
// The cameras are simulated: BGR frames with a padded stride; one in seven has a defect.
#include <inctrl.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

namespace {

constexpr std::uint32_t WIDTH = 320, HEIGHT = 240;
constexpr std::size_t STRIDE = WIDTH * 3 + 16;
constexpr std::uint64_t DEADLINE_US = 50000;

/// Fills the buffer as a camera driver would.
void grab(std::vector<unsigned char> &buffer, unsigned number) {
    for (std::size_t y = 0; y < HEIGHT; y++) {
        for (std::size_t x = 0; x < WIDTH; x++) {
            const bool defect = number % 7 == 6 && x / 40 == 3 && y / 40 == 2;
            const auto value = static_cast<unsigned char>(defect ? 250 : 90 + (x + y) % 32);
            for (std::size_t c = 0; c < 3; c++) {
                buffer[y * STRIDE + x * 3 + c] = value;
            }
        }
    }
}

inctrl_frame view(const std::vector<unsigned char> &buffer) {
    return inctrl::frame(buffer.data(), WIDTH, HEIGHT, INCTRL_BGR8, STRIDE);
}

/// One camera. Nothing here throws after the scorer was created. A frame that cannot be scored is a review.
void camera(const inctrl::Scorer &scorer, unsigned frames, std::atomic<unsigned> (&verdicts)[4],
            std::atomic<unsigned> &late) {
    std::vector<unsigned char> buffer(STRIDE * HEIGHT);
    inctrl::Result result;
    for (unsigned number = 0; number < frames; number++) {
        grab(buffer, number);
        if (scorer.score(view(buffer), result, DEADLINE_US) != INCTRL_OK) {
            std::fprintf(stderr, "frame %u: %s\n", number, inctrl_last_error());
        }
        verdicts[result->verdict & 3]++;
        late += static_cast<unsigned>(result->late);
    }
}

int run(const char *weights, unsigned frames) {
    inctrl::check_abi();
    const inctrl::Engine engine(weights, "auto", 1);
    engine.self_test();

    std::vector<unsigned char> good(STRIDE * HEIGHT);
    grab(good, 0);
    // A letterbox keeps the whole frame; a crop keeps only the central square.
    const auto first =
        inctrl::Bank::build(engine, "metal plate", {view(good)}, INCTRL_FIT_LETTERBOX).with_thresholds(0.6F, 0.8F, 0.2F);
    const inctrl::Slot slot(engine, first);
    // A part whose result comes too late for the ejector must not pass.
    auto options = inctrl::sized<inctrl_scorer_options>();
    options.late = INCTRL_LATE_REVIEW;
    const inctrl::Scorer left(engine, slot, options), right(engine, slot, options);
    for (const auto *scorer : {&left, &right}) {
        scorer->warm_up(WIDTH, HEIGHT, INCTRL_BGR8);
    }

    std::atomic<unsigned> verdicts[4] = {}, late{0};
    std::thread threads[] = {std::thread([&] { camera(left, frames, verdicts, late); }),
                             std::thread([&] { camera(right, frames, verdicts, late); })};
    // A new bank is built and put in place while the cameras run.
    grab(good, 1);
    const auto second = first.append(engine, {view(good)}).with_thresholds(0.6F, 0.8F, 0.2F);
    const auto generation = slot.swap(second);
    for (auto &thread : threads) {
        thread.join();
    }
    std::printf("%s: pass %u, review %u, reject %u, late %u, bank %s is generation %llu\n", engine.device().c_str(),
                verdicts[INCTRL_VERDICT_PASS].load(), verdicts[INCTRL_VERDICT_REVIEW].load(),
                verdicts[INCTRL_VERDICT_REJECT].load(), late.load(), second.id().c_str(),
                static_cast<unsigned long long>(generation));
    for (const auto *scorer : {&left, &right}) {
        const auto health = scorer->health();
        std::printf("frames %llu, p50 %llu us, p99.9 %llu us, max %llu us\n",
                    static_cast<unsigned long long>(health.frames), static_cast<unsigned long long>(health.p50_us),
                    static_cast<unsigned long long>(health.p999_us), static_cast<unsigned long long>(health.max_us));
    }
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s weights.safetensors [frames]\n", argv[0]);
        return 1;
    }
    try {
        return run(argv[1], argc > 2 ? static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)) : 100);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
