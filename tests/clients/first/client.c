/* A program that was compiled with the first header of interface 1, which stands beside it, and runs with the library of today:
 *
 *     client weights.safetensors
 *
 * Each structure is as large as that header says, and ends at bytes of this program's that nobody may write. The last line is
 * `score` and the bits of the query's score.
 */
#include "inctrl.h"

#include "../expect.h"

#define WIDTH 96
#define HEIGHT 64
#define GUARD 64

/* A structure of the caller's, and what comes after it in memory. */
#define GUARDED(type) \
    struct { \
        type value; \
        unsigned char after[GUARD]; \
    }

static void guard(unsigned char *after) { memset(after, 0xa5, GUARD); }

static void untouched(const unsigned char *after, int line) {
    int i, same = 1;
    for (i = 0; i < GUARD; i++) {
        same = same && after[i] == 0xa5;
    }
    expect(same, "the library wrote no further than the structure", line);
}

#define UNTOUCHED(guarded) untouched((guarded).after, __LINE__)

static unsigned char normal[WIDTH * HEIGHT], query[WIDTH * HEIGHT];

static inctrl_frame frame_of(const unsigned char *pixels) {
    inctrl_frame frame = {0};
    frame.struct_size = sizeof frame;
    frame.data = pixels;
    frame.width = WIDTH;
    frame.height = HEIGHT;
    frame.format = INCTRL_MONO8;
    return frame;
}

static void line_of_log(int32_t level, const char *message, void *user) {
    /* That header leaves a gap between the two, where warnings are today. */
    EXPECT(level >= INCTRL_LOG_ERROR && level <= INCTRL_LOG_INFO);
    EXPECT(message[0] != 0);
    ++*(int *)user;
}

int main(int argc, char **argv) {
    GUARDED(inctrl_engine_options) options = {{0}, {0}};
    GUARDED(inctrl_thresholds) limits = {{0}, {0}};
    GUARDED(inctrl_health) health = {{0}, {0}};
    struct {
        inctrl_frame value[3];
        unsigned char after[GUARD];
    } frames;
    struct {
        inctrl_result value[3];
        unsigned char after[GUARD];
    } results;
    static float map[4096];
    inctrl_region regions[16];
    inctrl_roi rois[2] = {{0, 0, WIDTH, HEIGHT}, {30, 10, 48, 48}};
    inctrl_engine *engine = NULL;
    inctrl_bank *bank = NULL, *judged = NULL;
    inctrl_slot *slot = NULL;
    inctrl_scorer *scorer = NULL;
    int32_t present = 0;
    uint32_t bits;
    int i, lines = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: %s weights.safetensors\n", argv[0]);
        return 1;
    }
    EXPECT(inctrl_abi_version() == INCTRL_ABI_VERSION);
    for (i = 0; i < WIDTH * HEIGHT; i++) {
        int x = i % WIDTH, y = i / WIDTH, bad = x >= 40 && x < 60 && y >= 20 && y < 36;
        normal[i] = (unsigned char)(100 + x * 3 % 17 + y % 7);
        query[i] = (unsigned char)(bad ? 250 : normal[i]);
    }
    guard(options.after);
    guard(limits.after);
    guard(health.after);
    guard(frames.after);
    guard(results.after);

    inctrl_set_log_callback(line_of_log, &lines);
    options.value.struct_size = sizeof options.value;
    options.value.weights = argv[1];
    options.value.device = "cpu";
    options.value.threads = 1;
    OK(inctrl_engine_open(&options.value, &engine));
    UNTOUCHED(options);
    EXPECT(lines == 1);

    frames.value[0] = frame_of(normal);
    frames.value[1] = frames.value[2] = frame_of(query);
    OK(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, frames.value, 1, NULL, &bank));
    OK(inctrl_slot_create(engine, bank, &slot));
    OK(inctrl_scorer_create(engine, slot, 2, &scorer));
    OK(inctrl_scorer_warm_up(scorer, WIDTH, HEIGHT, INCTRL_MONO8, 1));

    memset(results.value, 0, sizeof results.value);
    for (i = 0; i < 3; i++) {
        results.value[i].struct_size = sizeof results.value[i];
    }
    results.value[1].map = map;
    results.value[1].map_capacity = sizeof map / sizeof map[0];
    OK(inctrl_scorer_score_batch(scorer, frames.value, 3, 0, results.value));
    UNTOUCHED(frames);
    UNTOUCHED(results);
    EXPECT(results.value[0].verdict == INCTRL_VERDICT_NONE && results.value[0].generation == 1);
    EXPECT(results.value[0].patch_max < results.value[1].patch_max);
    EXPECT(results.value[1].score == results.value[2].score && results.value[2].latency_us > 0);
    EXPECT(results.value[1].grid == inctrl_engine_grid(engine));
    memcpy(&bits, &results.value[1].score, sizeof bits);

    limits.value.struct_size = sizeof limits.value;
    limits.value.review = limits.value.reject = 1;
    limits.value.cell = results.value[1].patch_max / 2;
    OK(inctrl_bank_with_thresholds(bank, &limits.value, &judged));
    limits.value.review = 0;
    OK(inctrl_bank_thresholds(judged, &limits.value, &present));
    UNTOUCHED(limits);
    EXPECT(present == 1 && limits.value.review == 1);
    OK(inctrl_slot_swap(slot, judged, NULL));
    results.value[0].regions = regions;
    results.value[0].region_capacity = 16;
    OK(inctrl_scorer_score_regions(scorer, &frames.value[1], rois, 2, 1, results.value));
    UNTOUCHED(results);
    EXPECT(results.value[0].verdict == INCTRL_VERDICT_REVIEW && results.value[0].reason == INCTRL_REASON_REGIONS);
    EXPECT(results.value[0].region_count > 0 && regions[0].cells > 0 && results.value[1].region_count > 0);
    /* Late or not, its verdict is what it was in the days of that header. */
    OK(inctrl_scorer_score(scorer, &frames.value[0], 1, &results.value[0]));
    EXPECT(results.value[0].late == 1 && results.value[0].verdict == INCTRL_VERDICT_PASS);
    EXPECT(results.value[0].reason == INCTRL_REASON_BELOW);

    frames.value[1].format = 99;
    REFUSED(inctrl_scorer_score_batch(scorer, frames.value, 3, 0, results.value), INCTRL_ERROR_ARGUMENT, "99");
    EXPECT(results.value[0].status == INCTRL_OK && results.value[2].status == INCTRL_OK);
    IS_REVIEW(&results.value[1], INCTRL_ERROR_ARGUMENT);
    health.value.struct_size = sizeof health.value;
    OK(inctrl_scorer_health(scorer, &health.value));
    UNTOUCHED(health);
    EXPECT(health.value.frames == 8 && health.value.errors == 1 && health.value.late == 3);
    EXPECT(strstr(health.value.last_error, "99") != NULL && health.value.generation == 2);

    OK(inctrl_scorer_close(&scorer));
    OK(inctrl_slot_close(&slot));
    OK(inctrl_bank_close(&judged));
    OK(inctrl_bank_close(&bank));
    OK(inctrl_engine_close(&engine));
    inctrl_set_log_callback(NULL, NULL);
    printf("score %08lx\n", (unsigned long)bits);
    return 0;
}
