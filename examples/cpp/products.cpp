// Two products in one frame, each with its own bank and limits; which product lies in a place; and a false alarm that is
// appended to the bank while it is used.
//
//     products weights.safetensors
//
// The weights are those of a vision transformer such as DINOv2. Frames are simulated.
#include <inctrl.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <vector>

namespace {

constexpr std::uint32_t WIDTH = 320, HEIGHT = 160;
constexpr inctrl_roi LEFT{0, 0, 160, 160}, RIGHT{160, 0, 160, 160};
using Picture = std::vector<std::uint8_t>;

/// Nuts at the left and bolts at the right; `number` is the noise of the frame, `mark` a spot on the nut.
Picture grab(unsigned number, bool mark = false) {
    Picture pixels(WIDTH * HEIGHT);
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < WIDTH; x++) {
            const unsigned part = x < 160 ? 90 + (x + y) % 32 : 150 + (x / 8 + y / 8) % 2 * 40;
            const unsigned noise = (x * 7 + y * 13 + number * 29) % 11;
            pixels[y * WIDTH + x] = static_cast<std::uint8_t>(mark && x / 20 == 3 && y / 20 == 2 ? 250 : part + noise);
        }
    }
    return pixels;
}

inctrl_frame view(const Picture &pixels) { return inctrl::frame(pixels.data(), WIDTH, HEIGHT, INCTRL_MONO8); }

int run(const char *weights) {
    const inctrl::Engine engine(weights);
    std::vector<Picture> pictures;
    std::vector<inctrl_frame> frames;
    for (unsigned number = 0; number < 12; number++) {
        pictures.push_back(grab(number));
    }
    for (const auto &picture : pictures) {
        frames.push_back(view(picture));
    }
    const std::vector<inctrl_frame> normal(frames.begin(), frames.begin() + 2), good(frames.begin() + 2, frames.end());

    // A bank for each region, with limits from good images that are not in it.
    const auto bank = [&](const inctrl_roi &roi) {
        inctrl::BankOptions options;
        options.method = "anomaly-dino";
        options.options = {"size=160", "rotations=2"}; // the regions have so many pixels, and parts lie straight
        options.roi = &roi;
        return inctrl::Bank::build(engine, options, normal).calibrate(engine, good, 0.1, &roi);
    };
    const inctrl::Slot nuts(engine, bank(LEFT)), bolts(engine, bank(RIGHT));
    inctrl::RoiScorer scorer(engine, {&nuts, &bolts}, 2);

    const std::vector<inctrl::Inspection> each = {{LEFT, {0}, {}}, {RIGHT, {1}, {}}};
    const auto marked = grab(20, true);
    inctrl::Results results;
    inctrl::check(scorer.score(view(marked), each, results));
    std::printf("nut %.3f (p = %.2f), bolt %.3f (p = %.2f)\n", results[0].score, results[0].p_value, results[1].score,
                results[1].p_value);

    // The same encoding against every bank: which product is at the right?
    inctrl::check(scorer.score(view(marked), {{RIGHT, {}, {}}}, results));
    const auto best = scorer.best(0);
    std::printf("at the right: %s, by a margin of %.3f\n", best.place == 1 ? "bolt" : "nut", best.margin);

    // Such marks are fine after all: the image joins the bank, of which at most 200000 rows are kept.
    auto options = inctrl::sized<inctrl_append_options>();
    options.max_rows = 200000;
    options.roi = &LEFT;
    const auto done = inctrl::Appender(engine, nuts, options).append(view(marked));
    inctrl::check(scorer.score(view(marked), each, results));
    std::printf("nut %.3f with %zu rows of %zu images, appended in %llu + %llu us\n", results[0].score, done.rows,
                done.prompts, static_cast<unsigned long long>(done.encoding_us),
                static_cast<unsigned long long>(done.exchange_us));
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s weights.safetensors\n", argv[0]);
        return 1;
    }
    try {
        return run(argv[1]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
