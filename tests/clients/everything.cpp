// Every function of inctrl.hpp, and that what it gives has the bits of the C calls:
//
//     everything weights.safetensors folder
//
// The first surprise ends it with status 1. The folder receives the pictures (query.pgm, normal_0.pgm, normal_1.pgm) and the bank
// (two.bank), so that another program can score the same; the last line is `score` and the bits of the query's score.
#include <inctrl.hpp>
#include <inctrl.hpp>

#include <array>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

namespace {

constexpr std::uint32_t WIDTH = 96, HEIGHT = 64;
using Picture = std::vector<std::uint8_t>;

void expect(bool holds, const char *what, int line) {
    if (!holds) {
        std::fprintf(stderr, "line %d: not so: %s (last error: %s)\n", line, what, inctrl_last_error());
        std::exit(1);
    }
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

/// Ends the program unless `call` throws this status, for a reason that has this word in it.
template <class Call> void throws(Call call, std::int32_t status, const char *word, int line) {
    try {
        call();
    } catch (const inctrl::Error &error) {
        expect(error.status() == status && std::strstr(error.what(), word) != nullptr, error.what(), line);
        return;
    }
    expect(false, "it throws", line);
}
#define THROWS(call, status, word) throws([&] { static_cast<void>(call); }, status, word, __LINE__)

template <class T> constexpr bool moves_only() {
    return !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> && std::is_nothrow_move_constructible_v<T> &&
           std::is_nothrow_move_assignable_v<T> && std::is_nothrow_destructible_v<T>;
}
static_assert(moves_only<inctrl::Engine>() && moves_only<inctrl::Bank>() && moves_only<inctrl::Slot>());
static_assert(moves_only<inctrl::Scorer>() && moves_only<inctrl::Result>() && moves_only<inctrl::Results>());
static_assert(moves_only<inctrl::RoiScorer>() && moves_only<inctrl::Appender>());
static_assert(!std::is_move_constructible_v<inctrl::Log> && std::is_nothrow_destructible_v<inctrl::Log>);

Picture draw(unsigned seed, bool defect) {
    Picture pixels(WIDTH * HEIGHT);
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < WIDTH; x++) {
            const bool bad = defect && x >= 40 && x < 60 && y >= 20 && y < 36;
            pixels[y * WIDTH + x] =
                static_cast<std::uint8_t>(bad ? 250 : 100 + (x * 3 + seed) % 17 + (y + seed * seed) % 7);
        }
    }
    return pixels;
}

inctrl_frame view(const Picture &pixels) { return inctrl::frame(pixels.data(), WIDTH, HEIGHT, INCTRL_MONO8); }

void write_pgm(const std::string &path, const Picture &pixels) {
    std::ofstream file(path, std::ios::binary);
    file << "P5 " << WIDTH << ' ' << HEIGHT << " 255\n";
    file.write(reinterpret_cast<const char *>(pixels.data()), static_cast<std::streamsize>(pixels.size()));
    EXPECT(file.good());
}

template <class T> bool same_bits(const T &a, const T &b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// Whether two results say the same, to the bit; their places and their times differ.
bool same(const inctrl_result &a, const inctrl_result &b) {
    const auto parts = [](const inctrl_result &r) {
        return std::array{r.score, r.holistic, r.patch_max, r.image_residual, r.text_prior};
    };
    const auto places = [](const inctrl_result &r) {
        return std::array{r.map_x, r.map_y, r.map_width, r.map_height};
    };
    const auto map_a = inctrl::map(a), map_b = inctrl::map(b);
    const auto regions_a = inctrl::regions(a), regions_b = inctrl::regions(b);
    return same_bits(parts(a), parts(b)) && same_bits(places(a), places(b)) && a.status == b.status &&
           a.verdict == b.verdict && a.reason == b.reason && a.late == b.late && a.region_count == b.region_count &&
           a.grid == b.grid && a.generation == b.generation && std::strcmp(a.bank_id, b.bank_id) == 0 &&
           map_a.size() == map_b.size() && regions_a.size() == regions_b.size() &&
           (map_a.empty() || std::memcmp(map_a.data(), map_b.data(), map_a.size() * sizeof(float)) == 0) &&
           (regions_a.empty() ||
            std::memcmp(regions_a.data(), regions_b.data(), regions_a.size() * sizeof(inctrl_region)) == 0);
}

/// Results of the C interface with their memory, made by hand.
struct ByHand {
    ByHand(std::size_t count, std::size_t cells) : maps(count * cells), regions(count * 64), values(count) {
        for (std::size_t i = 0; i < count; i++) {
            std::memset(&values[i], 0, sizeof values[i]);
            values[i].struct_size = sizeof values[i];
            values[i].map = maps.data() + i * cells;
            values[i].map_capacity = cells;
            values[i].regions = regions.data() + i * 64;
            values[i].region_capacity = 64;
        }
    }
    std::vector<float> maps;
    std::vector<inctrl_region> regions;
    std::vector<inctrl_result> values;
};

bool is_review(const inctrl_result &result) {
    return result.verdict == INCTRL_VERDICT_REVIEW && result.reason == INCTRL_REASON_ERROR &&
           result.status != INCTRL_OK && std::isnan(result.score) && !inctrl::passed(result) &&
           inctrl::map(result).empty() && inctrl::regions(result).empty();
}

void single(const inctrl::Engine &engine, const inctrl::Scorer &scorer, const inctrl_frame &query) {
    const auto cells = engine.cells();
    ByHand hand(1, cells);
    inctrl::check(inctrl_scorer_score(scorer.get(), &query, 0, hand.values.data()));
    inctrl::Result result(cells);
    EXPECT(is_review(*result));
    inctrl::check(scorer.score(query, result));
    EXPECT(same(*result, hand.values[0]) && result.map().size() == cells && result->grid == engine.grid());
    EXPECT(result.regions().size() == result->region_count && result->region_count > 0);
    EXPECT(std::distance(result.begin(), result.end()) == static_cast<std::ptrdiff_t>(result->region_count));
    EXPECT(result.begin()->peak == result->patch_max && result.regions()[0].cells > 0);
    EXPECT(result->late == 0 && scorer.score(query, result, 1) == INCTRL_OK && result->late == 1);

    // The map in memory of the caller, and in its own again.
    std::vector<float> mine(cells, -1.0F);
    result.map_into(mine.data(), mine.size());
    EXPECT(is_review(*result) && scorer.score(query, result) == INCTRL_OK && result.map().data() == mine.data());
    EXPECT(mine == hand.maps);
    result.map_into(mine.data(), cells - 1);
    EXPECT(scorer.score(query, result) == INCTRL_ERROR_ARGUMENT && is_review(*result));
    EXPECT(inctrl::last_error().find("room for") != std::string::npos);
    result.map_into(nullptr, cells);
    EXPECT(scorer.score(query, result) == INCTRL_OK && result.map().data() != mine.data());
    EXPECT(inctrl::last_error().empty() && same(*result, hand.values[0]));

    // A moved result has what it had; what it was moved from passes nothing.
    inctrl::Result taken(std::move(result));
    EXPECT(same(*taken, hand.values[0]));
    EXPECT(is_review(*result) && scorer.score(query, result) == INCTRL_ERROR_ARGUMENT && is_review(*result));
    result = std::move(taken);
    EXPECT(same(*result, hand.values[0]) && scorer.score(query, result) == INCTRL_OK);

    // No map, no regions: they are counted all the same. A bad frame is a review.
    inctrl::Result bare(0, 0);
    EXPECT(scorer.score(query, bare) == INCTRL_OK && bare.map().empty() && bare.regions().empty());
    EXPECT(bare->region_count == result->region_count && same_bits(bare->score, result->score));
    auto bad = query;
    bad.width = 0;
    EXPECT(scorer.score(bad, bare) == INCTRL_ERROR_ARGUMENT && is_review(*bare) && !inctrl::last_error().empty());
    THROWS(inctrl::check(scorer.score(bad, bare)), INCTRL_ERROR_ARGUMENT, "0 x");
}

void several(const inctrl::Engine &engine, const inctrl::Scorer &scorer, std::vector<inctrl_frame> frames) {
    const auto cells = engine.cells(), count = frames.size();
    ByHand hand(count, cells);
    inctrl::check(inctrl_scorer_score_batch(scorer.get(), frames.data(), count, 0, hand.values.data()));
    inctrl::Results results(1, cells);
    EXPECT(results.size() == 1 && !results.empty() && is_review(results[0]));
    inctrl::check(scorer.score_batch(frames, results));
    EXPECT(results.size() == count);
    std::size_t i = 0;
    for (const inctrl_result &result : results) {
        EXPECT(same(result, hand.values[i]) && &result == &results.at(i));
        i++;
    }
    EXPECT(i == count);
    // One bad frame costs no other its score, and leaves nothing of the last call.
    frames[1].format = 99;
    EXPECT(scorer.score_batch(frames.data(), frames.size(), results) == INCTRL_ERROR_ARGUMENT);
    for (i = 0; i < count; i++) {
        EXPECT(i == 1 ? is_review(results[i]) : same(results[i], hand.values[i]));
    }
    results.resize(count + 1);
    for (const auto &result : results) {
        EXPECT(is_review(result));
    }
    inctrl::Results taken(std::move(results));
    EXPECT(taken.size() == count + 1 && results.empty());
    EXPECT(scorer.score_batch(nullptr, 0, taken) == INCTRL_OK && taken.empty());

    // Maps in memory of the caller that has room for two: the third fails, and nothing is written past the end.
    frames[1].format = frames[0].format;
    std::vector<float> mine(2 * cells + 1, -1.0F);
    taken.maps_into(mine.data(), mine.size(), cells);
    EXPECT(scorer.score_batch(frames, taken) == INCTRL_ERROR_ARGUMENT && mine.back() == -1.0F);
    for (i = 0; i < count; i++) {
        EXPECT(i < 2 ? same(taken[i], hand.values[i]) && inctrl::map(taken[i]).data() == mine.data() + i * cells
                     : is_review(taken[i]));
    }
    taken.maps_into(nullptr, 0, cells);
    EXPECT(scorer.score_batch(frames, taken) == INCTRL_OK && same(taken[2], hand.values[2]));
    results = std::move(taken);
    EXPECT(results.size() == count && same(*results.begin(), hand.values[0]) && results.raw() == results.begin());

    const std::vector<inctrl_roi> rois = {{0, 0, WIDTH, HEIGHT}, {30, 10, 48, 48}, {90, 0, 10, 10}};
    ByHand parts(rois.size(), cells);
    const auto status =
        inctrl_scorer_score_regions(scorer.get(), &frames.back(), rois.data(), rois.size(), 0, parts.values.data());
    EXPECT(status == INCTRL_ERROR_ARGUMENT);
    EXPECT(scorer.score_regions(frames.back(), rois, results) == status && results.size() == rois.size());
    for (i = 0; i < rois.size(); i++) {
        EXPECT(i == 2 ? is_review(results[i]) : same(results[i], parts.values[i]));
    }
    EXPECT(scorer.score_regions(frames.back(), rois.data(), 2, results, 1) == INCTRL_OK && results.size() == 2);
    EXPECT(results[0].late == 1 && results[1].late == 1);
}

inctrl::Bank banks(const inctrl::Engine &engine, const std::string &folder, const std::vector<inctrl_frame> &normals) {
    const auto two = inctrl::Bank::build(engine, "plate", {normals[0], normals[1]}, INCTRL_FIT_CROP);
    EXPECT(two.prompts() == 2 && two.class_name() == "plate" && two.id() == inctrl_bank_id(two.get()));
    const auto file = folder + "/two.bank";
    two.save(file);
    EXPECT(inctrl::Bank::open(file).id() == two.id());
    std::ifstream stream(file, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
    EXPECT(inctrl::Bank::from_bytes(bytes.data(), bytes.size()).id() == two.id());
    THROWS(inctrl::Bank::from_bytes(bytes.data(), 10), INCTRL_ERROR_BANK, "bank");
    THROWS(inctrl::Bank::open(folder + "/none.bank"), INCTRL_ERROR_IO, "none.bank");
    THROWS(inctrl::Bank::open_without_thresholds(folder + "/none.bank"), INCTRL_ERROR_IO, "none.bank");
    THROWS(two.save(folder + "/none/two.bank"), INCTRL_ERROR_IO, "two.bank");
    THROWS(inctrl::Bank::build(engine, "plate", {}, INCTRL_FIT_CROP), INCTRL_ERROR_ARGUMENT, "at least one");

    const auto three = two.append(engine, {normals[2]});
    EXPECT(three.prompts() == 3 && three.id() != two.id());
    EXPECT(!two.thresholds().has_value());
    const auto judged = two.with_thresholds(0.5F, 0.75F, 0.25F);
    judged.save(folder + "/judged.bank");
    EXPECT(inctrl::Bank::open(folder + "/judged.bank").id() == judged.id());
    const auto without = inctrl::Bank::open_without_thresholds(folder + "/judged.bank");
    EXPECT(without.id() == two.id() && !without.thresholds().has_value());
    const auto limits = judged.thresholds();
    EXPECT(limits && limits->review == 0.5F && limits->reject == 0.75F && limits->cell == 0.25F);
    EXPECT(two.with_thresholds(*limits).id() == judged.id() && judged.without_thresholds().id() == two.id());
    THROWS(two.with_thresholds(1, 0.5F, 0), INCTRL_ERROR_ARGUMENT, "review");
    THROWS(two.with_thresholds(25, 50, 20), INCTRL_ERROR_ARGUMENT, "from 0 to 1");
    return inctrl::Bank::open(file);
}

/// Below the mask nothing counts; both ways to give one are the same.
void masked(const inctrl::Engine &engine, const inctrl::Slot &slot, const inctrl::Scorer &scorer,
            const inctrl_frame &normal, const inctrl_frame &query) {
    Picture covered(WIDTH * HEIGHT);
    for (std::size_t i = 0; i < covered.size(); i++) {
        covered[i] = i % WIDTH >= 30 && i % WIDTH < 70 && i / WIDTH >= 14 && i / WIDTH < 42;
    }
    const auto mask = inctrl::mask(covered.data(), WIDTH, HEIGHT);
    const auto bank = inctrl::Bank::build(engine, "plate", {normal}, INCTRL_FIT_CROP, mask);
    EXPECT(inctrl::Bank::build(engine, "plate", {normal}, INCTRL_FIT_CROP, &mask).id() == bank.id());
    EXPECT(inctrl::Bank::build(engine, "plate", {normal}, INCTRL_FIT_CROP).id() != bank.id());
    THROWS(inctrl::Bank::build(engine, "plate", {normal}, INCTRL_FIT_CROP, inctrl::mask(covered.data(), 8, 8, WIDTH)),
           INCTRL_ERROR_ARGUMENT, "8 x 8");
    slot.swap(bank);
    inctrl::Result good, bad;
    inctrl::check(scorer.score(normal, good));
    inctrl::check(scorer.score(query, bad));
    EXPECT(same_bits(good->score, bad->score));
}

/// Tiles of 48 pixels over the whole frame: the same calls, and a map of it all.
void tiled(const inctrl::Engine &engine, const inctrl_frame &normal, const inctrl_frame &query) {
    inctrl::BankOptions options;
    options.method = "anomaly-dino";
    options.options = {"tile=48", "overlap=16", "scale=1", "rotations=1"};
    const auto bank = inctrl::Bank::build(engine, options, {normal});
    const inctrl::Slot slot(engine, bank);
    const inctrl::Scorer scorer(engine, slot, 1);
    inctrl::Result good, bad(scorer.cells(WIDTH, HEIGHT));
    inctrl::check(scorer.score(normal, good));
    inctrl::check(scorer.score(query, bad));
    EXPECT(scorer.cells(WIDTH, HEIGHT) == std::size_t{bad->grid_rows} * bad->grid_cols);
    EXPECT(bad->grid_rows * WIDTH == bad->grid_cols * HEIGHT && bad->map_x == 0 && bad->map_width == WIDTH);
    EXPECT(good->score < 1e-5F && bad->score > good->score && inctrl::map(*bad).size() == scorer.cells(WIDTH, HEIGHT));
    options.options.push_back("bank-per=tile");
    EXPECT(inctrl::Bank::build(engine, options, {normal}).id() != bank.id());
    options.options = {"tile=480"};
    THROWS(inctrl::Bank::build(engine, options, {normal}), INCTRL_ERROR_ARGUMENT, "which has 96 x 64");
}

int run(const std::string &weights, const std::string &folder) {
    inctrl::check_abi();
    EXPECT(inctrl::version() == inctrl_version() && inctrl::last_error().empty());
    const Picture pictures[] = {draw(0, false), draw(1, false), draw(2, false), draw(0, true)};
    const std::vector<inctrl_frame> normals = {view(pictures[0]), view(pictures[1]), view(pictures[2])};
    const auto query = view(pictures[3]);
    write_pgm(folder + "/query.pgm", pictures[3]);
    write_pgm(folder + "/normal_0.pgm", pictures[0]);
    write_pgm(folder + "/normal_1.pgm", pictures[1]);

    // The newest log gets the lines; one that throws harms nobody.
    unsigned lines = 0, inner_lines = 0;
    std::optional<inctrl::Log> outer(std::in_place, [&](std::int32_t level, const char *message) {
        lines += level == INCTRL_LOG_ERROR && message[0] != 0;
    });
    {
        const inctrl::Log inner([&](std::int32_t, const char *) {
            inner_lines++;
            throw std::runtime_error("no");
        });
        outer.reset(); // Not the newest: `inner` goes on.
        THROWS(inctrl::Engine("/nowhere/w.safetensors"), INCTRL_ERROR_IO, "/nowhere/w.safetensors");
    }
    EXPECT(lines == 0 && inner_lines == 1);
    {
        const inctrl::Log log([&](std::int32_t level, const char *) { lines += level == INCTRL_LOG_ERROR; });
        THROWS(inctrl::Engine(weights, "abacus"), INCTRL_ERROR_ARGUMENT, "abacus");
        EXPECT(lines == 1);
    }
    THROWS(inctrl::Engine(weights, "abacus"), INCTRL_ERROR_ARGUMENT, "abacus");
    EXPECT(lines == 1);

    auto options = inctrl::sized<inctrl_engine_options>();
    options.weights = weights.c_str();
    options.device = "cpu";
    options.threads = 2;
    inctrl::Engine engine(weights, "cpu", 1);
    EXPECT(inctrl::Engine(options).model_hash() == engine.model_hash());
    engine.self_test();
    EXPECT(engine.model_hash() == inctrl_engine_model_hash(engine.get()));
    EXPECT(engine.device() == inctrl_engine_device(engine.get()));
    EXPECT(engine.grid() > 0 && engine.cells() == std::size_t{engine.grid()} * engine.grid());

    auto bank = banks(engine, folder, normals);
    inctrl::Slot slot(engine, bank);
    inctrl::Scorer scorer(engine, slot, 3);
    scorer.warm_up(WIDTH, HEIGHT, INCTRL_MONO8);
    EXPECT(scorer.cells(WIDTH, HEIGHT) == engine.cells());
    EXPECT(scorer.health().frames == 0);
    inctrl::Result plain;
    inctrl::check(scorer.score(query, plain));
    EXPECT(plain->verdict == INCTRL_VERDICT_NONE && !inctrl::passed(*plain) && plain->generation == 1);

    EXPECT(slot.swap(bank.with_thresholds(1, 1, plain->patch_max / 2)) == 2);
    inctrl::Result good;
    inctrl::check(scorer.score(normals[0], good));
    EXPECT(inctrl::passed(*good) && good->reason == INCTRL_REASON_BELOW && good->generation == 2);
    single(engine, scorer, query);
    several(engine, scorer, {normals[0], normals[1], normals[2], query});
    masked(engine, slot, scorer, normals[0], query);
    tiled(engine, normals[0], query);

    auto careful = inctrl::sized<inctrl_scorer_options>();
    careful.late = INCTRL_LATE_REVIEW;
    const inctrl::Scorer punctual(engine, slot, careful);
    EXPECT(punctual.score(normals[0], good, 1) == INCTRL_OK && good->late == 1 && !inctrl::passed(*good));
    EXPECT(good->verdict == INCTRL_VERDICT_REVIEW && good->reason == INCTRL_REASON_LATE);
    careful.late = 7;
    THROWS(inctrl::Scorer(engine, slot, careful), INCTRL_ERROR_ARGUMENT, "7");

    const auto health = scorer.health();
    auto by_hand = inctrl::sized<inctrl_health>();
    inctrl::check(inctrl_scorer_health(scorer.get(), &by_hand));
    EXPECT(health.frames == by_hand.frames && health.frames > 10 && health.errors == by_hand.errors);
    EXPECT(health.late >= 3 && health.p50_us <= health.max_us && health.errors > 0 && health.last_error[0] != 0);
    EXPECT(health.model_hash == engine.model_hash() && health.generation == by_hand.generation);

    // Moving a handle moves what it holds; what is left holds nothing, and says so.
    slot.swap(bank);
    inctrl::Bank moved_bank(std::move(bank));
    inctrl::Engine moved_engine(std::move(engine));
    EXPECT(!bank.get() && bank.prompts() == 0 && !engine.get() && engine.cells() == 0);
    THROWS(bank.id(), INCTRL_ERROR_ARGUMENT, "moved");
    THROWS(bank.class_name(), INCTRL_ERROR_ARGUMENT, "moved");
    THROWS(engine.device(), INCTRL_ERROR_ARGUMENT, "moved");
    THROWS(engine.model_hash(), INCTRL_ERROR_ARGUMENT, "moved");
    THROWS(engine.self_test(), INCTRL_ERROR_ARGUMENT, "NULL");
    THROWS(inctrl::Slot(engine, moved_bank), INCTRL_ERROR_ARGUMENT, "engine");
    engine = std::move(moved_engine);
    engine.self_test();
    inctrl::Slot moved_slot(std::move(slot));
    inctrl::Scorer moved_scorer(std::move(scorer));
    inctrl::Result result;
    EXPECT(scorer.score(query, result) == INCTRL_ERROR_ARGUMENT && is_review(*result));
    inctrl::Results results;
    EXPECT(scorer.score_batch({query, query}, results) == INCTRL_ERROR_ARGUMENT && is_review(results[1]));
    THROWS(scorer.health(), INCTRL_ERROR_ARGUMENT, "NULL");
    THROWS(slot.swap(moved_bank), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(moved_scorer.score(query, result) == INCTRL_OK && same_bits(result->score, plain->score));
    // The order in which handles end does not matter.
    moved_bank = inctrl::Bank::build(engine, "plate", {normals[0]}, INCTRL_FIT_STRETCH);
    { const inctrl::Engine gone(std::move(engine)); }
    EXPECT(moved_scorer.score(query, result) == INCTRL_OK && same_bits(result->score, plain->score));

    std::uint32_t bits = 0;
    std::memcpy(&bits, &result->score, sizeof bits);
    std::printf("score %08" PRIx32 "\n", bits);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s weights.safetensors folder\n", argv[0]);
        return 1;
    }
    try {
        return run(argv[1], argv[2]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s (status %d)\n", error.what(),
                     dynamic_cast<const inctrl::Error *>(&error) != nullptr
                         ? static_cast<const inctrl::Error &>(error).status()
                         : -1);
        return 1;
    }
}
