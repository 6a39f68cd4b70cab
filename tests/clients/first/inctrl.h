/* The declarations of the first inctrl.h of interface 1, without its comments: what programs in the field were compiled with.
 * This file stays as it is. */
#ifndef INCTRL_H
#define INCTRL_H
#include <stddef.h>
#include <stdint.h>
#define INCTRL_ABI_VERSION 1
#define INCTRL_OK 0
#define INCTRL_ERROR_IO 1
#define INCTRL_ERROR_WEIGHTS 2
#define INCTRL_ERROR_CONFIG 3
#define INCTRL_ERROR_IMAGE 4
#define INCTRL_ERROR_BANK 5
#define INCTRL_ERROR_ARGUMENT 6
#define INCTRL_ERROR_DEVICE 7
#define INCTRL_ERROR_NUMERIC 8
#define INCTRL_ERROR_INTERNAL 9
#define INCTRL_ERROR_BUSY 10
#define INCTRL_LOG_ERROR 1
#define INCTRL_LOG_INFO 3
#define INCTRL_MONO8 1
#define INCTRL_MONO16 2
#define INCTRL_RGB8 3
#define INCTRL_BGR8 4
#define INCTRL_RGBA8 5
#define INCTRL_BGRA8 6
#define INCTRL_BAYER_RG8 7
#define INCTRL_BAYER_GR8 8
#define INCTRL_BAYER_GB8 9
#define INCTRL_BAYER_BG8 10
#define INCTRL_MEMORY_HOST 0
#define INCTRL_MEMORY_CUDA 1
#define INCTRL_PRECISION_F16 0
#define INCTRL_PRECISION_F32 1
#define INCTRL_FIT_CROP 0
#define INCTRL_FIT_LETTERBOX 1
#define INCTRL_FIT_STRETCH 2
#define INCTRL_VERDICT_NONE 0
#define INCTRL_VERDICT_PASS 1
#define INCTRL_VERDICT_REVIEW 2
#define INCTRL_VERDICT_REJECT 3
#define INCTRL_REASON_NONE 0
#define INCTRL_REASON_BELOW 1
#define INCTRL_REASON_SCORE 2
#define INCTRL_REASON_REGIONS 3
#define INCTRL_REASON_SCORE_AND_REGIONS 4
#define INCTRL_REASON_ERROR 5
typedef struct inctrl_bank inctrl_bank;
typedef struct inctrl_engine inctrl_engine;
typedef struct inctrl_scorer inctrl_scorer;
typedef struct inctrl_slot inctrl_slot;
typedef void (*inctrl_log_callback)(int32_t level, const char *message, void *user);
typedef struct inctrl_engine_options {
    size_t struct_size;
    const char *weights;
    const char *heads;
    const char *config;
    const char *device;
    uint32_t threads;
    int32_t precision;
} inctrl_engine_options;
typedef struct inctrl_frame {
    size_t struct_size;
    const void *data;
    uint32_t width;
    uint32_t height;
    size_t stride;
    int32_t format;
    int32_t memory;
} inctrl_frame;
typedef struct inctrl_thresholds {
    size_t struct_size;
    float review;
    float reject;
    float cell;
    uint32_t reserved;
} inctrl_thresholds;
typedef struct inctrl_region {
    uint32_t x;
    uint32_t y;
    uint32_t width;
    uint32_t height;
    double area;
    float peak;
    uint32_t cells;
} inctrl_region;
typedef struct inctrl_result {
    size_t struct_size;
    float *map;
    size_t map_capacity;
    struct inctrl_region *regions;
    size_t region_capacity;
    size_t region_count;
    int32_t status;
    int32_t verdict;
    int32_t reason;
    int32_t late;
    float score;
    float holistic;
    float patch_max;
    float image_residual;
    float text_prior;
    uint32_t grid;
    double map_x;
    double map_y;
    double map_width;
    double map_height;
    uint64_t generation;
    uint64_t latency_us;
    char bank_id[24];
} inctrl_result;
typedef struct inctrl_roi {
    uint32_t x;
    uint32_t y;
    uint32_t width;
    uint32_t height;
} inctrl_roi;
typedef struct inctrl_health {
    size_t struct_size;
    const char *model_hash;
    const char *device;
    char bank_id[24];
    uint64_t generation;
    uint64_t uptime_us;
    uint64_t frames;
    uint64_t errors;
    uint64_t late;
    uint64_t p50_us;
    uint64_t p90_us;
    uint64_t p99_us;
    uint64_t p999_us;
    uint64_t max_us;
    char last_error[512];
} inctrl_health;
#ifdef __cplusplus
extern "C" {
#endif // __cplusplus
uint32_t inctrl_abi_version(void);
const char *inctrl_version(void);
const char *inctrl_last_error(void);
void inctrl_set_log_callback(inctrl_log_callback callback,
                             void *user);
int32_t inctrl_engine_open(const struct inctrl_engine_options *options, struct inctrl_engine **engine);
int32_t inctrl_engine_self_test(const struct inctrl_engine *engine);
const char *inctrl_engine_model_hash(const struct inctrl_engine *engine);
const char *inctrl_engine_device(const struct inctrl_engine *engine);
uint32_t inctrl_engine_grid(const struct inctrl_engine *engine);
int32_t inctrl_engine_close(struct inctrl_engine **engine);
int32_t inctrl_bank_build(const struct inctrl_engine *engine,
                          const char *class_name,
                          int32_t fit,
                          const struct inctrl_frame *frames,
                          size_t count,
                          const struct inctrl_frame *mask,
                          struct inctrl_bank **bank);
int32_t inctrl_bank_append(const struct inctrl_engine *engine,
                           const struct inctrl_bank *bank,
                           const struct inctrl_frame *frames,
                           size_t count,
                           struct inctrl_bank **longer);
int32_t inctrl_bank_open(const char *file, struct inctrl_bank **bank);
int32_t inctrl_bank_from_bytes(const void *data, size_t size, struct inctrl_bank **bank);
int32_t inctrl_bank_save(const struct inctrl_bank *bank, const char *file);
int32_t inctrl_bank_with_thresholds(const struct inctrl_bank *bank,
                                    const struct inctrl_thresholds *thresholds,
                                    struct inctrl_bank **changed);
int32_t inctrl_bank_thresholds(const struct inctrl_bank *bank, struct inctrl_thresholds *thresholds, int32_t *present);
const char *inctrl_bank_id(const struct inctrl_bank *bank);
const char *inctrl_bank_class_name(const struct inctrl_bank *bank);
size_t inctrl_bank_prompts(const struct inctrl_bank *bank);
int32_t inctrl_bank_close(struct inctrl_bank **bank);
int32_t inctrl_slot_create(const struct inctrl_engine *engine,
                           const struct inctrl_bank *bank,
                           struct inctrl_slot **slot);
int32_t inctrl_slot_swap(const struct inctrl_slot *slot, const struct inctrl_bank *bank, uint64_t *generation);
int32_t inctrl_slot_close(struct inctrl_slot **slot);
int32_t inctrl_scorer_create(const struct inctrl_engine *engine,
                             const struct inctrl_slot *slot,
                             size_t capacity,
                             struct inctrl_scorer **scorer);
int32_t inctrl_scorer_score(const struct inctrl_scorer *scorer,
                            const struct inctrl_frame *frame,
                            uint64_t deadline_us,
                            struct inctrl_result *result);
int32_t inctrl_scorer_score_batch(const struct inctrl_scorer *scorer,
                                  const struct inctrl_frame *frames,
                                  size_t count,
                                  uint64_t deadline_us,
                                  struct inctrl_result *results);
int32_t inctrl_scorer_score_regions(const struct inctrl_scorer *scorer,
                                    const struct inctrl_frame *frame,
                                    const struct inctrl_roi *rois,
                                    size_t count,
                                    uint64_t deadline_us,
                                    struct inctrl_result *results);
int32_t inctrl_scorer_warm_up(const struct inctrl_scorer *scorer,
                              uint32_t width,
                              uint32_t height,
                              int32_t format,
                              uint32_t count);
int32_t inctrl_scorer_health(const struct inctrl_scorer *scorer, struct inctrl_health *health);
int32_t inctrl_scorer_close(struct inctrl_scorer **scorer);
#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus
#endif
