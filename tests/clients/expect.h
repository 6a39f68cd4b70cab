/* How stranger.c checks: the first thing that is not as it should be ends the program with status 1 and says where. */
#ifndef EXPECT_H
#define EXPECT_H

#include <inctrl.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program unless something holds. */
#define EXPECT(condition) expect(!!(condition), #condition, __LINE__)
/* Ends the program unless a call succeeds. */
#define OK(call) ok((call), #call, __LINE__)
/* Ends the program unless a call is refused with this status, for a reason that has this word in it. */
#define REFUSED(call, status, word) refused((call), (status), (word), #call, __LINE__)

static void expect(int holds, const char *what, int line) {
    if (!holds) {
        fprintf(stderr, "line %d: not so: %s (last error: %s)\n", line, what, inctrl_last_error());
        exit(1);
    }
}

static void ok(int32_t status, const char *what, int line) {
    if (status != INCTRL_OK || strcmp(inctrl_last_error(), "") != 0) {
        fprintf(stderr, "line %d: %s: status %" PRId32 ": %s\n", line, what, status, inctrl_last_error());
        exit(1);
    }
}

static void refused(int32_t status, int32_t wanted, const char *word, const char *what, int line) {
    if (status != wanted || !strstr(inctrl_last_error(), word)) {
        fprintf(stderr, "line %d: %s: status %" PRId32 ", not %" PRId32 "; no \"%s\" in: %s\n", line, what, status,
                wanted, word, inctrl_last_error());
        exit(1);
    }
}

static int same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

/* What went wrong must never look like a good part. */
static void is_review(const inctrl_result *result, int32_t status, int line) {
    int holds = result->status == status && result->verdict == INCTRL_VERDICT_REVIEW &&
                result->reason == INCTRL_REASON_ERROR && isnan(result->score) && result->region_count == 0;
    expect(holds, "the result is a review because of an error", line);
}

#define IS_REVIEW(result, status) is_review((result), (status), __LINE__)

static const char *path_in(const char *folder, const char *name) {
    static char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    EXPECT(length > 0 && (size_t)length < sizeof path);
    return path;
}

/* Bytes of a file, which the caller frees. */
static unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;
    EXPECT(file && fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size);
    EXPECT(bytes && fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

#endif
