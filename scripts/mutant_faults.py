"""Lists for scripts/mutants.py: faults of the host side, and mutants that change nothing, with the proof."""

# (file in src/backend/cuda, or path from the root; what it is, text that is there once, text instead of it)
HOST_FAULTS = [
    # Swapped launch arguments.
    ("layer_norm.rs", "swapped arguments", "int(rows)?,\n            int(width)?,", "int(width)?,\n            int(rows)?,"),
    ("embed.rs", "swapped arguments", "int(tokens.prefix)?,\n            int(tokens.patches)?,", "int(tokens.patches)?,\n            int(tokens.prefix)?,"),
    ("attention.rs", "swapped arguments", "int(tokens)?, int(shape.heads)?", "int(shape.heads)?, int(tokens)?"),
    (
        "class_attention.rs",
        "swapped arguments",
        "int(tokens)?,\n            int(shape.heads)?,",
        "int(shape.heads)?,\n            int(tokens)?,",
    ),
    ("patch_nn.rs", "swapped arguments", "int(at.query_pitch)?,\n            int(count)?,", "int(count)?,\n            int(at.query_pitch)?,"),
    (
        "preprocess.rs",
        "swapped arguments",
        "int(columns.start)?,\n            int(columns.len())?,\n            int(rows.start)?,\n            int(rows.len())?,",
        "int(rows.start)?,\n            int(rows.len())?,\n            int(columns.start)?,\n            int(columns.len())?,",
    ),
    ("residual_mean.rs", "swapped arguments", "int(taps)?,\n            int(cells)?,", "int(cells)?,\n            int(taps)?,"),
    ("mean_of_largest.rs", "swapped arguments", "int(at.out_pitch)?,\n            int(at.column)?,", "int(at.column)?,\n            int(at.out_pitch)?,"),
    ("unit_patches.rs", "swapped arguments", "int(tokens.prefix)?,\n            int(tokens.patches)?,", "int(tokens.patches)?,\n            int(tokens.prefix)?,"),
    ("plain_patches.rs", "swapped arguments", "int(tokens.prefix)?,\n            int(tokens.patches)?,", "int(tokens.patches)?,\n            int(tokens.prefix)?,"),
    ("join_layers.rs", "swapped arguments", "int(layers)?,\n            int(rows)?,", "int(rows)?,\n            int(layers)?,"),
    ("nearest_distance.rs", "swapped arguments", "int(at.query_pitch)?,\n            int(count)?,", "int(count)?,\n            int(at.query_pitch)?,"),
    ("subspace_distance.rs", "swapped arguments", "int(cells)?,\n            int(places)?,", "int(places)?,\n            int(cells)?,"),
    ("subspace_distance.rs", "swapped arguments", "weights,\n            channels,", "channels,\n            weights,"),
    ("window_tokens.rs", "swapped arguments", "int(at.grid.rows)?,\n            int(at.grid.cols)?,", "int(at.grid.cols)?,\n            int(at.grid.rows)?,"),
    ("src/methods/winclip/scores/cuda.rs", "swapped arguments", "int(of.grid.rows)?,\n            int(of.grid.cols)?,", "int(of.grid.cols)?,\n            int(of.grid.rows)?,"),
    (
        "src/methods/winclip/scores/cuda.rs",
        "swapped arguments",
        "column(at.mean.map(|[with, _]| with))?,\n            column(at.mean.map(|[_, into]| into))?,",
        "column(at.mean.map(|[_, into]| into))?,\n            column(at.mean.map(|[with, _]| with))?,",
    ),
    ("convolve.rs", "swapped arguments", "int(at.input.rows)?,\n            int(at.input.cols)?,", "int(at.input.cols)?,\n            int(at.input.rows)?,"),
    ("convolve.rs", "swapped arguments", "int(first)?,\n            int(count)?,", "int(count)?,\n            int(first)?,"),
    ("convolve.rs", "wrong offset", "let to = to + (first * outputs * Storage::F32.size()) as u64;", "let to = to + (first * outputs) as u64;"),
    ("convolve.rs", "sums not rectified", "if then == Then::Store {", "if then != Then::AddRelu {"),
    ("convolve.rs", "sums not added", "matches!(then, Then::AddRelu);", "false;"),
    ("max_pool.rs", "swapped arguments", "int(grid.rows)?,\n            int(grid.cols)?,", "int(grid.cols)?,\n            int(grid.rows)?,"),
    ("mean_cells.rs", "swapped arguments", "int(cells)?,\n            int(width)?,", "int(width)?,\n            int(cells)?,"),
    ("pool_neighbours.rs", "swapped arguments", "int(width)?,\n            int(bins)?,", "int(bins)?,\n            int(width)?,"),
    ("pool_columns.rs", "swapped arguments", "int(width)?,\n            int(bins)?,", "int(bins)?,\n            int(width)?,"),
    ("resample.rs", "swapped arguments", "int(pitch)?,\n            int(column)?,", "int(column)?,\n            int(pitch)?,"),
    ("resample.rs", "swapped arguments", "int(to.rows)?,\n            int(to.cols)?,", "int(to.cols)?,\n            int(to.rows)?,"),
    ("nearest_euclidean.rs", "keys not cleared", "self.clear_keys(keys, 1, at)?;", ""),
    ("nearest_euclidean.rs", "wrong first query", "from + (at.queries.start * width * 4) as u64,", "from,"),
    ("nearest_euclidean.rs", "short shared memory", "(32 + 1) * 4", "32 * 4"),
    ("nearest_euclidean.rs", "grid without its tail", "count.div_ceil(QUERIES)", "(count / QUERIES).max(1)"),
    ("src/methods/spade/image/cuda.rs", "always of unit length", "i32::from(at.unit)", "1i32"),
    ("src/methods/patchcore/reweight/cuda.rs", "rows of the other type", "Ok(rows) => (with.plain,", "Ok(rows) => (with.unit,"),
    ("enlarge.rs", "wrong map", "let first = (at.map * cells * 4) as u64;", "let first = (at.map * 4) as u64;"),
    ("src/methods/patchcore/reweight/cuda.rs", "swapped arguments", "tensor,\n            neighbours,", "neighbours,\n            tensor,"),
    # Buffers and shared memory that are too short, grids that are too small.
    ("subspace_distance.rs", "short shared memory", "(together * (depth + most) + THREADS as usize / 32) * 4", "(together * (depth + most)) * 4"),
    ("src/methods/patchcore/reweight/cuda.rs", "short shared memory", "THREADS as usize / 32 * 8 + AROUND * 4", "THREADS as usize / 32 * 8"),
    ("src/methods/spade/image/cuda.rs", "short shared memory", "(width + MOST + THREADS as usize / 32) * 4", "(width + THREADS as usize / 32) * 4"),
    (
        "buffer.rs",
        "short buffer",
        '"memory for activations", len * storage.size())',
        '"memory for activations", (len * storage.size()).saturating_sub(4))',
    ),
    (
        "preprocess.rs",
        "short buffer",
        "grow(context, what, plan.intermediate_len(channels), &mut pixels.intermediate)?;",
        "grow(context, what, plan.intermediate_len(channels) - 1, &mut pixels.intermediate)?;",
    ),
    (
        "attention.rs",
        "short shared memory",
        "tokens.next_multiple_of(32)) * 4",
        "tokens.next_multiple_of(32)) * 4 - 16",
    ),
    ("class_attention.rs", "short shared memory", "WARPS * HEAD_SIZE + 2 * WARPS)", "WARPS * HEAD_SIZE + WARPS)"),
    ("src/methods/inctrl/heads/cuda.rs", "short shared memory", "h2 as usize + 32) * 4", "h2 as usize) * 4"),
    (
        "src/methods/anomaly_dino/foreground/cuda.rs",
        "swapped arguments",
        "int(at.grid.rows)?,\n            int(at.grid.cols)?,",
        "int(at.grid.cols)?,\n            int(at.grid.rows)?,",
    ),
    (
        "src/methods/anomaly_dino/foreground/cuda.rs",
        "short shared memory",
        "const PRODUCT_SHARED: usize = 9216;",
        "const PRODUCT_SHARED: usize = 8192;",
    ),
    (
        "src/methods/anomaly_dino/foreground/cuda.rs",
        "grid without its tail",
        "each.patches.div_ceil(PATCHES)",
        "(each.patches / PATCHES).max(1)",
    ),
    ("mean_of_largest.rs", "short shared memory", "THREADS as usize / 32 * 4", "THREADS as usize / 32 * 2"),
    ("launch.rs", "grid without its tail", "items.div_ceil(share)", "(items / share).max(1)"),
    ("patch_nn.rs", "grid without its tail", "let blocks = count.div_ceil(QUERIES);", "let blocks = (count / QUERIES).max(1);"),
    (
        "patch_nn.rs",
        "keys not cleared",
        "return clear(0, layers * count);",
        "return clear(0, count);",
    ),
    # Recordings and banks of another time.
    ("graph.rs", "recording of another batch", "kept.key.iter().copied().eq(key())", "kept.key.len() == key().count()"),
    ("graph.rs", "only recorded", "        work(self)?;\n        let graph = self.record", "        let graph = self.record"),
    (
        "bank.rs",
        "stale bank",
        "if self.table.banks.iter().eq(banks.iter().map(|bank| &bank.number)) {",
        "if self.table.banks.len() == banks.len() {",
    ),
    ("bank.rs", "another tensor's entry", "place * MAX_BANK_TENSORS + tensor", "place * MAX_BANK_TENSORS"),
    (
        "mod.rs",
        "stale bank",
        "        self.select(banks)?;\n        self.replay_or_record",
        "        self.replay_or_record",
    ),
    # Strides, leading dimensions, offsets, types.
    ("preprocess.rs", "wrong stride", "int(stride)?,", "int(plan.source()[0])?,"),
    ("preprocess.rs", "wrong first pixel of a view", "(row * stride + column * channels) as u64;", "(row * stride) as u64;"),
    (
        "preprocess.rs",
        "wrong stride of a device frame",
        "(address + (rows.start * device.stride() + columns.start * channels) as u64, device.stride())",
        "(address + (rows.start * device.stride() + columns.start * channels) as u64, device.width() * channels)",
    ),
    (
        "preprocess.rs",
        "wrong first row of a device frame",
        "(address + (rows.start * device.stride() + columns.start * channels) as u64, device.stride())",
        "(address, device.stride())",
    ),
    ("device_frame.rs", "length not checked", "if left < frame.bytes() {", "if left == 0 {"),
    ("device_frame.rs", "other device not refused", "if facts.ordinal != ordinal as i32 {", "if facts.ordinal < 0 {"),
    ("preprocess.rs", "wrong row", "int(plan.source_rows().start)?,", "0i32,"),
    (
        "preprocess.rs",
        "wrong offset",
        "let out = out + (image * len * storage.size()) as u64;",
        "let out = out + (image * len) as u64;",
    ),
    ("unit_patches.rs", "wrong offset", "(self.tap * len * storage.size())", "(self.tap * len)"),
    (
        "matmul.rs",
        "wrong leading dimension",
        "create_matrix_layout(kind(half), rows as u64, columns as u64, rows as i64)",
        "create_matrix_layout(kind(half), rows as u64, columns as u64, rows.max(columns) as i64)",
    ),
    (
        "matmul.rs",
        "wrong transposition",
        "problem.set(Desc::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;",
        "problem.set(Desc::CUBLASLT_MATMUL_DESC_TRANSA, &AS_IT_IS)?;",
    ),
    (
        "linear.rs",
        "bias of the other type",
        "if half_out { half.pointer() } else { single.pointer() }",
        "if half_out { single.pointer() } else { half.pointer() }",
    ),
    # Work that is not waited for.
    ("buffer.rs", "not waited for", "        self.synchronise()?;\n        if let Some(mirror) = &buffer.mirror", "        if let Some(mirror) = &buffer.mirror"),
    ("memory.rs", "not waited for", "memcpy_htod_sync(self.pointer + at as u64, values) })?;\n        wait_for_null_stream()", "memcpy_htod_sync(self.pointer + at as u64, values) })"),
    ("preprocess.rs", "not waited for", "                staging.free.wait()?;\n", ""),
    # Bits that depend on the batch.
    ("linear.rs", "algorithm by batch", "let free = if self.free {", "let free = if true {"),
]

# (file, kind, text of the line or of that before it too, text of the changed line, proof)
EQUIVALENT = [
    (
        "attention.cu",
        "loop longer by one",
        "key < tokens; key += TILE",
        "key <= tokens; key += TILE",
        "Differs where tokens are a multiple of 64, by a tile without a valid key over memory that earlier tiles have filled, as "
        "the launcher gives this kernel more than 272 tokens: its scores are minus infinity, the maximum stays, sums are "
        "multiplied by 2^0, and finite values by weights of 0",
    ),
    (
        "attention.cu",
        "no guard",
        "if (query >= tokens) return;",
        "if (false) return;",
        "A warp without a query has computed the last query's row, and stores the same bits where that query's warp does",
    ),
    (
        "attention.cu",
        "guard looser by one",
        "if (query >= tokens) return;",
        "if (query > tokens) return;",
        "A warp without a query has computed the last query's row, and stores the same bits where that query's warp does",
    ),
    (
        "gelu.cu",
        "guard looser by one",
        "if (first + EACH <= end) {",
        "if (first + EACH < end) {",
        "The last whole vector is taken element by element: the same function of the same numbers, rounded alike",
    ),
    (
        "inctrl_heads.cu",
        "loop longer by one",
        "row < rows; row += WARPS * ROWS",
        "row <= rows; row += WARPS * ROWS",
        "A round that begins at `rows` multiplies the last row four times, stores none of the results, and meets nobody but its "
        "own warp",
    ),
    (
        "attention_tiles.cuh",
        "no guard",
        "if (j * 8 + 8 <= valid) continue;",
        "if (false) continue;",
        "Skips eight keys none of which the inner comparison would mask",
    ),
    (
        "attention_tiles.cuh",
        "guard looser by one",
        "if (j * 8 + 8 <= valid) continue;",
        "if (j * 8 + 8 < valid) continue;",
        "Skips eight keys none of which the inner comparison would mask",
    ),
    (
        "search.cuh",
        "guard looser by one",
        "other == value && other_index < index",
        "other_index <= index",
        "Equal values with equal indices are the same candidate, or both lanes have none",
    ),
    (
        "search.cuh",
        "clamp looser by one",
        "tiles = first_tile < all ?",
        "tiles = first_tile <= all ?",
        "At equality the quotient is (tile_step - 1) / tile_step, which is 0",
    ),
    (
        "patch_nn.cu",
        "loop longer by one",
        "step < steps; step++",
        "step <= steps; step++",
        "The step after the last fetches nothing, and offers nothing: with one slice its tile lies behind the bank's rows, with "
        "more its slices are not complete",
    ),
    (
        "patch_nn.cu",
        "loop longer by one",
        "i < work.tiles; i++",
        "i <= work.tiles; i++",
        "The tile after a block's last lies behind the bank's rows: zeros are copied, and no row is offered",
    ),
    (
        "nearest_euclidean.cu",
        "loop longer by one",
        "i < work.tiles; i++",
        "i <= work.tiles; i++",
        "The tile after a block's last lies behind the bank's rows: zeros are copied, and no row is offered",
    ),
    (
        "nearest_euclidean.cu",
        "loop longer by one",
        "column < width; column += DEPTH",
        "column <= width; column += DEPTH",
        "Differs where the width is a multiple of 32, by a slice behind it: zeros are copied for queries and rows, and their "
        "differences add nothing",
    ),
]

# The same, of mutants that are wrong on a GPU in a way that the emulator does not model.
UNMODELLED = [
    (
        "attention.cu",
        "no barrier",
        "const float inverse = 1.0f / reduce::sum(total);\n__syncthreads();",
        ";",
        "In `plain` after the sum over lanes: the weights are the warp's own, and the shuffles of that sum make all its lanes meet. "
        "What the barrier adds is that their stores are seen, which shuffles do not promise",
    ),
]
