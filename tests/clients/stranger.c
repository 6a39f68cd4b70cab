/* A client in C99 by somebody who has the header and docs/embedding.md and nothing else:
 *
 *     stranger weights.safetensors other_weights.safetensors folder
 *
 * Goes through all that the interface offers and checks what the header promises. The first surprise ends it with status 1.
 * The folder receives the pictures (query.pgm, normal_0.pgm, normal_1.pgm) and the bank (two.bank), so that another program can
 * score the same; the last line is `score` and the bits of the query's score.
 */
#include "expect.h"

#define WIDTH 96
#define HEIGHT 64
#define PADDED 112
#define CELLS 4096

static void draw(unsigned char *pixels, unsigned seed, int defect) {
    unsigned x, y;
    for (y = 0; y < HEIGHT; y++) {
        for (x = 0; x < WIDTH; x++) {
            int bad = defect && x >= 40 && x < 60 && y >= 20 && y < 36;
            pixels[y * WIDTH + x] = (unsigned char)(bad ? 250 : 100 + (x * 3 + seed) % 17 + (y + seed * seed) % 7);
        }
    }
}

static inctrl_frame frame_of(const unsigned char *pixels) {
    inctrl_frame frame = {0};
    frame.struct_size = sizeof frame;
    frame.data = pixels;
    frame.width = WIDTH;
    frame.height = HEIGHT;
    frame.format = INCTRL_MONO8;
    return frame;
}

static inctrl_result no_result(void) {
    inctrl_result result = {0};
    result.struct_size = sizeof result;
    return result;
}

static void write_pgm(const char *folder, const char *name, const unsigned char *pixels) {
    FILE *file = fopen(path_in(folder, name), "wb");
    EXPECT(file);
    EXPECT(fprintf(file, "P5 %d %d 255\n", WIDTH, HEIGHT) > 0);
    EXPECT(fwrite(pixels, 1, WIDTH * HEIGHT, file) == WIDTH * HEIGHT);
    EXPECT(fclose(file) == 0);
}

/* Number of lines of each level. */
static void count_lines(int32_t level, const char *message, void *user) {
    unsigned *lines = user;
    EXPECT(level >= 0 && level < 8 && message[0] != 0);
    lines[level]++;
}

static unsigned char normal[3][WIDTH * HEIGHT], query[WIDTH * HEIGHT];
static inctrl_frame normals[3], queried;

static inctrl_engine *open_engine(const char *weights) {
    inctrl_engine_options options = {0};
    inctrl_engine *engine = (inctrl_engine *)&options;
    struct {
        inctrl_engine_options known;
        uint64_t unknown[2];
    } later;

    REFUSED(inctrl_engine_open(NULL, &engine), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(engine == NULL);
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_ARGUMENT, "struct_size");
    options.struct_size = sizeof options - 1;
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_ARGUMENT, "struct_size");
    options.struct_size = sizeof options;
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_ARGUMENT, "weights");
    options.weights = "/nowhere/at/all.safetensors";
    options.device = "cpu";
    options.threads = 1;
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_IO, "/nowhere/at/all.safetensors");
    options.weights = weights;
    options.heads = "/nowhere/heads.safetensors";
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_IO, "/nowhere/heads.safetensors");
    options.heads = NULL;
    options.precision = 17;
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_ARGUMENT, "17");
    options.precision = INCTRL_PRECISION_F16;
    options.device = "abacus";
    REFUSED(inctrl_engine_open(&options, &engine), INCTRL_ERROR_ARGUMENT, "abacus");
    options.device = "cpu";
    REFUSED(inctrl_engine_open(&options, NULL), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(engine == NULL);
    /* Built for a later library: fine as long as nothing new is asked for. */
    memset(&later, 0, sizeof later);
    later.known = options;
    later.known.struct_size = sizeof later;
    later.unknown[1] = 1;
    REFUSED(inctrl_engine_open(&later.known, &engine), INCTRL_ERROR_ARGUMENT, "newer library");
    later.unknown[1] = 0;
    OK(inctrl_engine_open(&later.known, &engine));
    OK(inctrl_engine_close(&engine));
    EXPECT(engine == NULL);
    OK(inctrl_engine_close(&engine));
    OK(inctrl_engine_close(NULL));

    OK(inctrl_engine_open(&options, &engine));
    OK(inctrl_engine_self_test(engine));
    REFUSED(inctrl_engine_self_test(NULL), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(inctrl_engine_model_hash(engine)[0] != 0 && inctrl_engine_device(engine)[0] != 0);
    EXPECT(!inctrl_engine_model_hash(NULL) && !inctrl_engine_device(NULL) && inctrl_engine_grid(NULL) == 0);
    EXPECT(inctrl_engine_grid(engine) > 0 && inctrl_engine_grid(engine) * inctrl_engine_grid(engine) <= CELLS);
    return engine;
}

static void refuse_frames(const inctrl_engine *engine) {
    inctrl_bank *bank = NULL;
    inctrl_frame bad = queried;
#define REFUSED_BUILD(count, word)                                                                                     \
    REFUSED(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, &bad, count, NULL, &bank), INCTRL_ERROR_ARGUMENT, word)
    REFUSED_BUILD(0, "at least one");
    bad.struct_size = 0;
    REFUSED_BUILD(1, "struct_size");
    bad = queried;
    bad.data = NULL;
    REFUSED_BUILD(1, "NULL");
    bad = queried;
    bad.width = 0;
    REFUSED_BUILD(1, "0 x");
    bad = queried;
    bad.height = 0;
    REFUSED_BUILD(1, "x 0");
    bad = queried;
    bad.stride = WIDTH - 1;
    REFUSED_BUILD(1, "stride");
    bad = queried;
    bad.stride = SIZE_MAX / 4;
    REFUSED_BUILD(1, "address space");
    bad = queried;
    bad.format = 0;
    REFUSED_BUILD(1, "pixel format");
    bad = queried;
    REFUSED(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, NULL, 1, NULL, &bank), INCTRL_ERROR_ARGUMENT, "NULL");
    REFUSED(inctrl_bank_build(engine, "plate", 3, &bad, 1, NULL, &bank), INCTRL_ERROR_ARGUMENT, "fit");
    REFUSED(inctrl_bank_build(engine, NULL, INCTRL_FIT_CROP, &bad, 1, NULL, &bank), INCTRL_ERROR_ARGUMENT, "class");
    REFUSED(inctrl_bank_build(engine, "\xff", INCTRL_FIT_CROP, &bad, 1, NULL, &bank), INCTRL_ERROR_ARGUMENT, "UTF-8");
    REFUSED(inctrl_bank_build(NULL, "plate", INCTRL_FIT_CROP, &bad, 1, NULL, &bank), INCTRL_ERROR_ARGUMENT, "engine");
    REFUSED(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, &bad, 1, NULL, NULL), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(bank == NULL);
}

static inctrl_bank *make_bank(const inctrl_engine *engine, const char *folder) {
    inctrl_bank *bank = NULL, *read = NULL, *longer = NULL;
    unsigned char *bytes;
    size_t size;

    OK(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, normals, 2, NULL, &bank));
    EXPECT(inctrl_bank_prompts(bank) == 2 && strcmp(inctrl_bank_class_name(bank), "plate") == 0);
    EXPECT(strspn(inctrl_bank_id(bank), "0123456789abcdef") == 16 && strlen(inctrl_bank_id(bank)) == 16);
    EXPECT(!inctrl_bank_id(NULL) && !inctrl_bank_class_name(NULL) && inctrl_bank_prompts(NULL) == 0);

    OK(inctrl_bank_save(bank, path_in(folder, "two.bank")));
    OK(inctrl_bank_open(path_in(folder, "two.bank"), &read));
    EXPECT(strcmp(inctrl_bank_id(bank), inctrl_bank_id(read)) == 0 && inctrl_bank_prompts(read) == 2);
    OK(inctrl_bank_close(&read));
    bytes = read_file(path_in(folder, "two.bank"), &size);
    OK(inctrl_bank_from_bytes(bytes, size, &read));
    EXPECT(strcmp(inctrl_bank_id(bank), inctrl_bank_id(read)) == 0);
    OK(inctrl_bank_close(&read));
    REFUSED(inctrl_bank_from_bytes(bytes, size - 1, &read), INCTRL_ERROR_BANK, "bank");
    REFUSED(inctrl_bank_from_bytes(bytes, 0, &read), INCTRL_ERROR_BANK, "bank");
    REFUSED(inctrl_bank_from_bytes(NULL, size, &read), INCTRL_ERROR_ARGUMENT, "NULL");
    free(bytes);
    REFUSED(inctrl_bank_open(path_in(folder, "none.bank"), &read), INCTRL_ERROR_IO, "none.bank");
    REFUSED(inctrl_bank_open(path_in(folder, "query.pgm"), &read), INCTRL_ERROR_BANK, "query.pgm");
    REFUSED(inctrl_bank_open(NULL, &read), INCTRL_ERROR_ARGUMENT, "NULL");
    REFUSED(inctrl_bank_open_without_thresholds(path_in(folder, "none.bank"), &read), INCTRL_ERROR_IO, "none.bank");
    REFUSED(inctrl_bank_open_without_thresholds(path_in(folder, "query.pgm"), &read), INCTRL_ERROR_BANK, "query.pgm");
    REFUSED(inctrl_bank_open_without_thresholds(NULL, &read), INCTRL_ERROR_ARGUMENT, "NULL");
    REFUSED(inctrl_bank_save(bank, path_in(folder, "none/two.bank")), INCTRL_ERROR_IO, "two.bank");
    REFUSED(inctrl_bank_save(bank, NULL), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(read == NULL);

    OK(inctrl_bank_append(engine, bank, &normals[2], 1, &longer));
    EXPECT(inctrl_bank_prompts(longer) == 3 && inctrl_bank_prompts(bank) == 2);
    EXPECT(strcmp(inctrl_bank_id(bank), inctrl_bank_id(longer)) != 0);
    OK(inctrl_bank_close(&longer));
    REFUSED(inctrl_bank_append(engine, NULL, normals, 1, &longer), INCTRL_ERROR_ARGUMENT, "bank");
    return bank;
}

static inctrl_bank *limited(const inctrl_bank *bank, float review, float reject, float cell) {
    inctrl_thresholds limits = {0}, read = {0};
    inctrl_bank *changed = NULL;
    int32_t present = 7;
    limits.struct_size = read.struct_size = sizeof limits;
    limits.review = review;
    limits.reject = reject;
    limits.cell = cell;
    OK(inctrl_bank_with_thresholds(bank, &limits, &changed));
    OK(inctrl_bank_thresholds(changed, &read, &present));
    EXPECT(present == 1 && memcmp(&read, &limits, sizeof read) == 0);
    return changed;
}

static void check_thresholds(const inctrl_bank *bank) {
    inctrl_thresholds limits = {0};
    inctrl_bank *changed = NULL, *bare = NULL;
    int32_t present = 7;
    limits.struct_size = sizeof limits;
    OK(inctrl_bank_thresholds(bank, &limits, &present));
    EXPECT(present == 0 && limits.review == 0);
    limits.review = 2;
    limits.reject = 1;
    REFUSED(inctrl_bank_with_thresholds(bank, &limits, &changed), INCTRL_ERROR_ARGUMENT, "review");
    limits.reject = 3;
    REFUSED(inctrl_bank_with_thresholds(bank, &limits, &changed), INCTRL_ERROR_ARGUMENT, "from 0 to 1");
    limits.review = 0.5F;
    limits.reject = 1;
    limits.reserved = 77;
    REFUSED(inctrl_bank_with_thresholds(bank, &limits, &changed), INCTRL_ERROR_ARGUMENT, "77");
    limits.reserved = 0;
    limits.reject = NAN;
    REFUSED(inctrl_bank_with_thresholds(bank, &limits, &changed), INCTRL_ERROR_ARGUMENT, "reject");
    limits.struct_size = 4;
    REFUSED(inctrl_bank_with_thresholds(bank, &limits, &changed), INCTRL_ERROR_ARGUMENT, "struct_size");
    REFUSED(inctrl_bank_thresholds(bank, &limits, NULL), INCTRL_ERROR_ARGUMENT, "present");
    EXPECT(changed == NULL);
    changed = limited(bank, 0.5F, 0.75F, 0.25F);
    REFUSED(inctrl_bank_thresholds(changed, NULL, &present), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT(strcmp(inctrl_bank_id(bank), inctrl_bank_id(changed)) != 0);
    OK(inctrl_bank_with_thresholds(changed, NULL, &bare));
    EXPECT(strcmp(inctrl_bank_id(bank), inctrl_bank_id(bare)) == 0);
    OK(inctrl_bank_close(&changed));
    OK(inctrl_bank_close(&bare));
}

static float score_of(const inctrl_scorer *scorer, const inctrl_frame *frame) {
    inctrl_result result = no_result();
    OK(inctrl_scorer_score(scorer, frame, 0, &result));
    return result.score;
}

/* One frame, and what can be wrong with the call. */
static void check_single(const inctrl_engine *engine, const inctrl_bank *bank, const inctrl_scorer *scorer) {
    static float map[CELLS];
    static unsigned char padded[PADDED * HEIGHT], wide[2 * WIDTH * HEIGHT];
    size_t cells = (size_t)inctrl_engine_grid(engine) * inctrl_engine_grid(engine), i;
    uint32_t rows = 0, cols = 0;
    inctrl_result result = no_result(), other;
    inctrl_frame frame = queried;
    float largest = 0;

    result.map = map;
    result.map_capacity = CELLS;
    for (i = 0; i < CELLS; i++) {
        map[i] = -1;
    }
    OK(inctrl_scorer_score(scorer, &queried, 0, &result));
    EXPECT(result.status == INCTRL_OK && result.verdict == INCTRL_VERDICT_NONE && result.reason == INCTRL_REASON_NONE);
    EXPECT(result.late == 0 && result.generation == 1 && result.region_count == 0);
    EXPECT(strcmp(result.bank_id, inctrl_bank_id(bank)) == 0 && result.grid == inctrl_engine_grid(engine));
    OK(inctrl_scorer_grid(scorer, WIDTH, HEIGHT, &rows, &cols));
    EXPECT(rows == result.grid && result.grid_rows == rows && result.grid_cols == cols && (size_t)rows * cols == cells);
    EXPECT(inctrl_scorer_grid(scorer, 0, HEIGHT, &rows, &cols) == INCTRL_ERROR_ARGUMENT);
    EXPECT(inctrl_scorer_grid(scorer, WIDTH, HEIGHT, NULL, &cols) == INCTRL_ERROR_ARGUMENT);
    for (i = 0; i < cells; i++) {
        EXPECT(map[i] >= 0 && map[i] <= 1);
        largest = map[i] > largest ? map[i] : largest;
    }
    EXPECT(cells == CELLS || map[cells] == -1);
    EXPECT(same_bits(largest, result.patch_max) && largest > 0);
    EXPECT(result.score >= 0 && result.score <= 1 && result.holistic >= 0 && result.holistic <= 1);
    EXPECT(result.image_residual >= 0 && result.image_residual <= 1 && result.text_prior >= 0 && result.text_prior <= 1);
    /* The middle square of the frame. */
    EXPECT(result.map_width > 0 && result.map_width <= HEIGHT && result.map_x > 0 && result.map_height == result.map_width);

    /* The same pixels in other memory. */
    for (i = 0; i < WIDTH * HEIGHT; i++) {
        padded[i / WIDTH * PADDED + i % WIDTH] = query[i];
        wide[2 * i] = wide[2 * i + 1] = query[i];
    }
    frame.data = padded;
    frame.stride = PADDED;
    EXPECT(same_bits(score_of(scorer, &frame), result.score));
    frame.data = wide;
    frame.stride = 0;
    frame.format = INCTRL_MONO16;
    EXPECT(same_bits(score_of(scorer, &frame), result.score));

    other = result;
    REFUSED(inctrl_scorer_score(NULL, &queried, 0, &other), INCTRL_ERROR_ARGUMENT, "scorer");
    IS_REVIEW(&other, INCTRL_ERROR_ARGUMENT);
    other = result;
    REFUSED(inctrl_scorer_score(scorer, NULL, 0, &other), INCTRL_ERROR_ARGUMENT, "NULL");
    IS_REVIEW(&other, INCTRL_ERROR_ARGUMENT);
    other = result;
    other.map_capacity = cells - 1;
    REFUSED(inctrl_scorer_score(scorer, &queried, 0, &other), INCTRL_ERROR_ARGUMENT, "room for");
    IS_REVIEW(&other, INCTRL_ERROR_ARGUMENT);
    other = result;
    other.map = NULL;
    REFUSED(inctrl_scorer_score(scorer, &queried, 0, &other), INCTRL_ERROR_ARGUMENT, "NULL");
    IS_REVIEW(&other, INCTRL_ERROR_ARGUMENT);
    other = result;
    frame = queried;
    frame.struct_size = 1;
    REFUSED(inctrl_scorer_score(scorer, &frame, 0, &other), INCTRL_ERROR_ARGUMENT, "struct_size");
    IS_REVIEW(&other, INCTRL_ERROR_ARGUMENT);
    /* A result that is shorter than the first version is not written to. */
    memset(&other, 0x55, sizeof other);
    other.struct_size = offsetof(inctrl_result, grid_rows) - 8;
    result = other;
    REFUSED(inctrl_scorer_score(scorer, &queried, 0, &other), INCTRL_ERROR_ARGUMENT, "struct_size");
    EXPECT(memcmp(&other, &result, sizeof other) == 0);
    REFUSED(inctrl_scorer_score(scorer, &queried, 0, NULL), INCTRL_ERROR_ARGUMENT, "NULL");
}

static void check_batch(const inctrl_scorer *scorer) {
    inctrl_frame frames[5];
    inctrl_result results[5];
    float alone[5];
    size_t i;
    for (i = 0; i < 5; i++) {
        frames[i] = i < 3 ? normals[i] : queried;
        alone[i] = score_of(scorer, &frames[i]);
        results[i] = no_result();
    }
    OK(inctrl_scorer_score_batch(scorer, frames, 5, 0, results));
    for (i = 0; i < 5; i++) {
        EXPECT(results[i].status == INCTRL_OK && same_bits(results[i].score, alone[i]));
    }
    /* Another size and another stride among them. */
    frames[1].width = frames[1].height = 40;
    frames[1].stride = WIDTH;
    alone[1] = score_of(scorer, &frames[1]);
    OK(inctrl_scorer_score_batch(scorer, frames, 5, 0, results));
    for (i = 0; i < 5; i++) {
        EXPECT(results[i].status == INCTRL_OK && same_bits(results[i].score, alone[i]));
    }
    frames[1].width = 0;
    frames[3].format = 99;
    REFUSED(inctrl_scorer_score_batch(scorer, frames, 5, 0, results), INCTRL_ERROR_ARGUMENT, "");
    for (i = 0; i < 5; i++) {
        if (i == 1 || i == 3) {
            IS_REVIEW(&results[i], INCTRL_ERROR_ARGUMENT);
        } else {
            EXPECT(results[i].status == INCTRL_OK && same_bits(results[i].score, alone[i]));
        }
    }
    OK(inctrl_scorer_score_batch(scorer, NULL, 0, 0, NULL));
    results[0].verdict = INCTRL_VERDICT_PASS;
    REFUSED(inctrl_scorer_score_batch(scorer, NULL, 1, 0, results), INCTRL_ERROR_ARGUMENT, "NULL");
    IS_REVIEW(&results[0], INCTRL_ERROR_ARGUMENT);
    REFUSED(inctrl_scorer_score_batch(scorer, frames, 1, 0, NULL), INCTRL_ERROR_ARGUMENT, "NULL");
}

/* Verdicts and defect regions; `scorer` has a bank whose cells are defective from `cell` on. */
static void check_regions(const inctrl_scorer *scorer) {
    const inctrl_roi rois[3] = {{0, 0, WIDTH, HEIGHT}, {30, 10, 48, 48}, {90, 0, 10, 10}};
    inctrl_region regions[2][16];
    inctrl_result results[3], whole = no_result();
    inctrl_frame part = queried;
    size_t i;

    OK(inctrl_scorer_score(scorer, &normals[0], 0, &whole));
    EXPECT(whole.verdict == INCTRL_VERDICT_PASS && whole.reason == INCTRL_REASON_BELOW && whole.region_count == 0);
    OK(inctrl_scorer_score(scorer, &queried, 0, &whole));
    EXPECT(whole.verdict == INCTRL_VERDICT_REVIEW && whole.reason == INCTRL_REASON_REGIONS && whole.region_count > 0);

    for (i = 0; i < 3; i++) {
        results[i] = no_result();
        results[i].regions = i < 2 ? regions[i] : NULL;
        results[i].region_capacity = i < 2 ? 16 : 0;
    }
    REFUSED(inctrl_scorer_score_regions(scorer, &queried, rois, 3, 0, results), INCTRL_ERROR_ARGUMENT, "96 x 64");
    IS_REVIEW(&results[2], INCTRL_ERROR_ARGUMENT);
    OK(inctrl_scorer_score_regions(scorer, &queried, rois, 2, 0, results));
    EXPECT(same_bits(results[0].score, whole.score) && results[0].region_count == whole.region_count);
    EXPECT(regions[0][0].cells > 0 && regions[0][0].area > 0 && same_bits(regions[0][0].peak, results[0].patch_max));
    for (i = 0; i < results[0].region_count; i++) {
        const inctrl_region *region = &regions[0][i];
        EXPECT(region->width > 0 && region->x + region->width <= WIDTH);
        EXPECT(region->height > 0 && region->y + region->height <= HEIGHT);
        EXPECT(i == 0 || region->peak <= regions[0][i - 1].peak);
    }
    /* A region is as its pixels would be as a frame, but says where it is in the whole one. */
    part.data = query + rois[1].y * WIDTH + rois[1].x;
    part.width = rois[1].width;
    part.height = rois[1].height;
    part.stride = WIDTH;
    whole.regions = regions[0];
    whole.region_capacity = 16;
    OK(inctrl_scorer_score(scorer, &part, 0, &whole));
    EXPECT(same_bits(results[1].score, whole.score) && results[1].region_count == whole.region_count);
    EXPECT(whole.region_count > 0);
    EXPECT(regions[1][0].x == regions[0][0].x + rois[1].x && regions[1][0].y == regions[0][0].y + rois[1].y);
    EXPECT(results[1].map_x == whole.map_x + rois[1].x && results[1].map_y == whole.map_y + rois[1].y);
    /* More regions than there is room for are counted all the same. */
    whole.region_capacity = 0;
    whole.regions = NULL;
    OK(inctrl_scorer_score(scorer, &part, 0, &whole));
    EXPECT(whole.region_count == results[1].region_count);
    OK(inctrl_scorer_score_regions(scorer, &queried, NULL, 0, 0, NULL));
    REFUSED(inctrl_scorer_score_regions(scorer, &queried, NULL, 1, 0, results), INCTRL_ERROR_ARGUMENT, "NULL");
    IS_REVIEW(&results[0], INCTRL_ERROR_ARGUMENT);
    REFUSED(inctrl_scorer_score_regions(scorer, NULL, rois, 1, 0, results), INCTRL_ERROR_ARGUMENT, "NULL");
    IS_REVIEW(&results[0], INCTRL_ERROR_ARGUMENT);
}

/* What a mask covers is not judged; it has the size of what is scored, be that a frame or a region of one. */
static void check_mask(const inctrl_engine *engine, const inctrl_slot *slot, const inctrl_scorer *scorer) {
    static unsigned char covered[WIDTH * HEIGHT];
    const inctrl_roi rois[2] = {{2, 3, WIDTH / 2, HEIGHT / 2}, {2, 3, WIDTH / 2, HEIGHT / 2 + 1}};
    inctrl_frame mask = frame_of(covered), part = normals[0];
    inctrl_result results[2];
    inctrl_bank *bank = NULL;
    size_t i;

    for (i = 0; i < WIDTH * HEIGHT; i++) {
        covered[i] = i % WIDTH >= 30 && i % WIDTH < 70 && i / WIDTH >= 14 && i / WIDTH < 42;
    }
    mask.width = WIDTH / 2;
    REFUSED(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, normals, 1, &mask, &bank), INCTRL_ERROR_ARGUMENT, "48 x 64");
    mask.width = WIDTH;
    mask.format = INCTRL_MONO16;
    REFUSED(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, normals, 1, &mask, &bank), INCTRL_ERROR_ARGUMENT, "mask");
    mask.format = INCTRL_MONO8;
    OK(inctrl_bank_build(engine, "plate", INCTRL_FIT_CROP, normals, 1, &mask, &bank));
    OK(inctrl_slot_swap(slot, bank, NULL));
    OK(inctrl_bank_close(&bank));
    /* The defect is below the mask; what is left differs from normals[0] in nothing. */
    EXPECT(same_bits(score_of(scorer, &queried), score_of(scorer, &normals[0])));
    part.width = WIDTH / 2;
    part.stride = WIDTH;
    results[0] = results[1] = no_result();
    REFUSED(inctrl_scorer_score(scorer, &part, 0, results), INCTRL_ERROR_ARGUMENT, "mask");
    IS_REVIEW(results, INCTRL_ERROR_ARGUMENT);

    part.height = mask.height = HEIGHT / 2;
    mask.width = WIDTH / 2;
    mask.stride = WIDTH;
    OK(inctrl_bank_build(engine, "plate", INCTRL_FIT_LETTERBOX, &part, 1, &mask, &bank));
    OK(inctrl_slot_swap(slot, bank, NULL));
    OK(inctrl_bank_close(&bank));
    REFUSED(inctrl_scorer_score_regions(scorer, &queried, rois, 2, 0, results), INCTRL_ERROR_ARGUMENT, "mask");
    EXPECT(results[0].status == INCTRL_OK);
    IS_REVIEW(&results[1], INCTRL_ERROR_ARGUMENT);
}

int main(int argc, char **argv) {
    unsigned lines[8] = {0};
    inctrl_engine *engine, *other_engine;
    inctrl_bank *bank, *judged, *other_bank = NULL;
    inctrl_slot *slot = NULL;
    inctrl_scorer *scorer = NULL, *punctual = NULL;
    inctrl_scorer_options options = {0};
    inctrl_result result = no_result();
    inctrl_health health = {0};
    uint64_t generation = 0, scored;
    float score;
    uint32_t bits;
    int i;

    if (argc != 4) {
        fprintf(stderr, "usage: %s weights.safetensors other_weights.safetensors folder\n", argv[0]);
        return 1;
    }
    EXPECT(inctrl_abi_version() == INCTRL_ABI_VERSION && inctrl_version()[0] != 0);
    EXPECT(strcmp(inctrl_last_error(), "") == 0);
    for (i = 0; i < 3; i++) {
        draw(normal[i], (unsigned)i, 0);
        normals[i] = frame_of(normal[i]);
    }
    draw(query, 0, 1);
    queried = frame_of(query);
    write_pgm(argv[3], "query.pgm", query);
    write_pgm(argv[3], "normal_0.pgm", normal[0]);
    write_pgm(argv[3], "normal_1.pgm", normal[1]);

    inctrl_set_log_callback(count_lines, lines);
    engine = open_engine(argv[1]);
    EXPECT(lines[INCTRL_LOG_ERROR] > 0 && lines[INCTRL_LOG_INFO] > 0);
    refuse_frames(engine);
    bank = make_bank(engine, argv[3]);
    check_thresholds(bank);
    REFUSED(inctrl_engine_self_test((const inctrl_engine *)bank), INCTRL_ERROR_ARGUMENT, "engine");

    REFUSED(inctrl_slot_create(engine, NULL, &slot), INCTRL_ERROR_ARGUMENT, "bank");
    OK(inctrl_slot_create(engine, bank, &slot));
    REFUSED(inctrl_scorer_create(engine, slot, 0, &scorer), INCTRL_ERROR_ARGUMENT, "capacity");
    REFUSED(inctrl_scorer_create(engine, NULL, 3, &scorer), INCTRL_ERROR_ARGUMENT, "slot");
    OK(inctrl_scorer_create(engine, slot, 3, &scorer));
    REFUSED(inctrl_scorer_warm_up(scorer, WIDTH, HEIGHT, 99, 1), INCTRL_ERROR_ARGUMENT, "pixel format");
    REFUSED(inctrl_scorer_warm_up(scorer, 0, HEIGHT, INCTRL_MONO8, 1), INCTRL_ERROR_ARGUMENT, "0");
    OK(inctrl_scorer_warm_up(scorer, WIDTH, HEIGHT, INCTRL_MONO8, 2));

    /* Nothing of the warm-up is counted, and a frame that is scored says nothing in the log. */
    i = (int)(lines[INCTRL_LOG_ERROR] + lines[INCTRL_LOG_INFO]);
    score = score_of(scorer, &queried);
    EXPECT((int)(lines[INCTRL_LOG_ERROR] + lines[INCTRL_LOG_INFO]) == i);
    health.struct_size = sizeof health;
    OK(inctrl_scorer_health(scorer, &health));
    EXPECT(health.frames == 1 && health.errors == 0 && health.late == 0 && health.generation == 1);
    EXPECT(strcmp(health.model_hash, inctrl_engine_model_hash(engine)) == 0 && health.last_error[0] == 0);
    EXPECT(strcmp(health.device, inctrl_engine_device(engine)) == 0);
    EXPECT(strcmp(health.bank_id, inctrl_bank_id(bank)) == 0);
    EXPECT(health.max_us > 0 && health.uptime_us >= health.max_us);

    check_single(engine, bank, scorer);
    check_batch(scorer);

    /* A deadline of a microsecond cannot be met; the result is as good as without. */
    OK(inctrl_scorer_score(scorer, &queried, 1, &result));
    EXPECT(result.late == 1 && same_bits(result.score, score));
    OK(inctrl_scorer_score(scorer, &queried, UINT64_MAX, &result));
    EXPECT(result.late == 0 && result.latency_us > 0);
    OK(inctrl_scorer_health(scorer, &health));
    EXPECT(health.late == 1 && health.errors > 0 && health.frames > 1 && health.last_error[0] != 0);
    EXPECT(health.p50_us <= health.p90_us && health.p90_us <= health.p99_us && health.p99_us <= health.p999_us);
    options.struct_size = sizeof options;
    options.late = INCTRL_LATE_REVIEW;
    OK(inctrl_scorer_create_with(engine, slot, &options, &punctual));
    OK(inctrl_scorer_score(punctual, &queried, 1, &result));
    EXPECT(result.late == 1 && same_bits(result.score, score));
    EXPECT(result.verdict == INCTRL_VERDICT_REVIEW && result.reason == INCTRL_REASON_LATE);
    OK(inctrl_scorer_score(punctual, &queried, 0, &result));
    EXPECT(result.late == 0 && result.verdict == INCTRL_VERDICT_NONE);
    OK(inctrl_scorer_close(&punctual));
    options.reserved = 1;
    REFUSED(inctrl_scorer_create_with(engine, slot, &options, &punctual), INCTRL_ERROR_ARGUMENT, "reserved");
    health.struct_size = 8;
    REFUSED(inctrl_scorer_health(scorer, &health), INCTRL_ERROR_ARGUMENT, "struct_size");
    REFUSED(inctrl_scorer_health(NULL, &health), INCTRL_ERROR_ARGUMENT, "scorer");

    /* Another bank under way. */
    judged = limited(bank, 1, 1, result.patch_max / 2);
    OK(inctrl_slot_swap(slot, judged, &generation));
    EXPECT(generation == 2);
    check_regions(scorer);
    OK(inctrl_bank_close(&judged));
    judged = limited(bank, 0, 0, 1);
    OK(inctrl_slot_swap(slot, judged, &generation));
    OK(inctrl_scorer_score(scorer, &normals[0], 0, &result));
    EXPECT(result.verdict == INCTRL_VERDICT_REJECT && result.reason == INCTRL_REASON_SCORE && result.generation == 3);
    EXPECT(strcmp(result.bank_id, inctrl_bank_id(judged)) == 0 && generation == 3);
    OK(inctrl_bank_close(&judged));
    check_mask(engine, slot, scorer);

    /* A bank of another model is refused, and the slot keeps what it had. */
    other_engine = open_engine(argv[2]);
    OK(inctrl_bank_build(other_engine, "plate", INCTRL_FIT_CROP, normals, 1, NULL, &other_bank));
    REFUSED(inctrl_slot_swap(slot, other_bank, &generation), INCTRL_ERROR_BANK, "model");
    OK(inctrl_slot_swap(slot, bank, &generation));
    EXPECT(same_bits(score_of(scorer, &queried), score));
    OK(inctrl_bank_close(&other_bank));
    OK(inctrl_engine_close(&other_engine));

    /* All else can go before the scorer. */
    scored = generation;
    OK(inctrl_bank_close(&bank));
    OK(inctrl_slot_close(&slot));
    OK(inctrl_engine_close(&engine));
    OK(inctrl_scorer_score(scorer, &queried, 0, &result));
    EXPECT(same_bits(result.score, score) && result.generation == scored && result.verdict == INCTRL_VERDICT_NONE);
    OK(inctrl_scorer_close(&scorer));
    EXPECT(!bank && !slot && !engine && !scorer);
    OK(inctrl_scorer_close(&scorer));
    OK(inctrl_slot_close(&slot));
    OK(inctrl_bank_close(&bank));
    inctrl_set_log_callback(NULL, NULL);
    i = (int)lines[INCTRL_LOG_ERROR];
    REFUSED(inctrl_engine_self_test(NULL), INCTRL_ERROR_ARGUMENT, "NULL");
    EXPECT((int)lines[INCTRL_LOG_ERROR] == i);

    memcpy(&bits, &score, sizeof bits);
    printf("score %08" PRIx32 "\n", bits);
    return 0;
}
