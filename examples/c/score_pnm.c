/* Scores a binary PNM picture (P5 or P6, 8 bits) against normal pictures:
 *
 *     score_pnm weights.safetensors class-name query.pnm normal.pnm [normal.pnm ...]
 */
#include <inctrl.h>

#include <stdio.h>
#include <stdlib.h>

/* Reads a picture into memory that the caller frees. Returns NULL if it cannot be read. */
static void *read_pnm(const char *path, inctrl_frame *frame) {
    FILE *file = fopen(path, "rb");
    unsigned width, height, depth;
    char kind = 0;
    void *pixels = NULL;
    if (file && fscanf(file, "P%c %u %u %u", &kind, &width, &height, &depth) == 4 && (kind == '5' || kind == '6') &&
        width > 0 && width < 65536 && height > 0 && height < 65536 && depth == 255 && fgetc(file) != EOF) {
        size_t size = (size_t)width * height * (kind == '6' ? 3 : 1);
        pixels = malloc(size);
        if (pixels && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
        frame->struct_size = sizeof *frame;
        frame->data = pixels;
        frame->width = width;
        frame->height = height;
        frame->format = kind == '6' ? INCTRL_RGB8 : INCTRL_MONO8;
    }
    if (file) {
        fclose(file);
    }
    if (!pixels) {
        fprintf(stderr, "%s: not a binary PNM picture of 8 bits\n", path);
    }
    return pixels;
}

int main(int argc, char **argv) {
    inctrl_engine_options options = {0};
    inctrl_engine *engine = NULL;
    inctrl_bank *bank = NULL;
    inctrl_slot *slot = NULL;
    inctrl_scorer *scorer = NULL;
    inctrl_result result = {0};
    size_t count = argc > 3 ? (size_t)argc - 3 : 0, i;
    /* The query, then the normal pictures. */
    inctrl_frame *frames = calloc(count + 1, sizeof *frames);
    int failed = 1;
    if (count < 2 || !frames) {
        fprintf(stderr, "usage: %s weights.safetensors class-name query.pnm normal.pnm [normal.pnm ...]\n", argv[0]);
        count = 0;
        goto end;
    }
    for (i = 0; i < count; i++) {
        if (!read_pnm(argv[3 + i], &frames[i])) {
            goto end;
        }
    }
    options.struct_size = sizeof options;
    options.weights = argv[1];
    result.struct_size = sizeof result;
    if (inctrl_engine_open(&options, &engine) ||
        inctrl_bank_build(engine, argv[2], INCTRL_FIT_CROP, &frames[1], count - 1, NULL, &bank) ||
        inctrl_slot_create(engine, bank, &slot) || inctrl_scorer_create(engine, slot, 1, &scorer) ||
        inctrl_scorer_score(scorer, &frames[0], 0, &result)) {
        fprintf(stderr, "%s\n", inctrl_last_error());
        goto end;
    }
    printf("score %.9g, worst patch %.9g, bank %s\n", result.score, result.patch_max, result.bank_id);
    failed = 0;
end:
    inctrl_scorer_close(&scorer);
    inctrl_slot_close(&slot);
    inctrl_bank_close(&bank);
    inctrl_engine_close(&engine);
    for (i = 0; i < count; i++) {
        free((void *)frames[i].data);
    }
    free(frames);
    return failed;
}
