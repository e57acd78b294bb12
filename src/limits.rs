//! Every bound of the program that is not in the configuration, and the largest value of each that
//! is.
//!
//! Thread: any, pure.
//! Not here: defaults of the configuration (`config`), who sits at which queue
//! (`daemon::topology`).

/// Most field lines of a request head that the configuration may allow. Browsers send 15 to 25; the
/// array of this many lies on a worker's stack (32 bytes each). Beyond: 431.
pub const HEADERS_MAX: usize = 128;

/// Most ranges of one request that the configuration may allow. Beyond: the whole file is sent.
pub const RANGES_MAX: usize = 64;

/// Most bytes that several ranges of one request may add up to: they leave in one gathered send,
/// and must all be in memory for it. Beyond: the whole file is sent.
pub const MULTIPART_BYTES_MAX: u64 = 8 << 20;

/// Longest file name below the root, host directory included, in bytes: PATH_MAX of Linux less the
/// final NUL, less room for a precompressed sibling's suffix. Beyond: 404.
pub const KEY_BYTES_MAX: usize = 4080;

/// Largest number of seconds that freshness counts with: 2^31, what RFC 9111 1.2.2 has a cache use
/// for every delta-seconds beyond it. 68 years; more makes no difference to anybody.
pub const DELTA_SECONDS_MAX: u32 = 1 << 31;

/// Most fields that one answer's Vary may nominate. Sites name two or three; each one multiplies
/// the variants. Beyond: the answer is passed on, not stored.
pub const VARY_FIELDS_MAX: usize = 8;

/// Longest secondary key, in bytes: the nominated fields' names and values of one request. Four
/// times a long User-Agent. Beyond: the request matches no variant and its answer is not stored.
pub const SECONDARY_KEY_BYTES_MAX: usize = 2048;

/// Most variants that are kept for one key. Codings times a few languages or formats; a site that
/// varies by User-Agent would fill a disk with copies. Beyond: the least recently used one goes.
pub const VARIANTS_MAX: usize = 32;

/// Most responses that one gathered send carries (pipelining). Each takes at most three pieces, and
/// a message has at most 1,024 (IOV_MAX). Beyond: the next send carries the rest.
pub const PIPELINE_MAX: usize = 32;

/// Most pieces (our own bytes, or a file's) of one gathered send: `PIPELINE_MAX` responses of two
/// pieces, or one multipart response of `RANGES_MAX` parts with a piece before and one after each.
pub const PIECES_MAX: usize = 208;
const _: () = assert!(PIECES_MAX > 2 * PIPELINE_MAX, "a full batch fits one send");
const _: () = assert!(PIECES_MAX > 2 * RANGES_MAX + 1, "a multipart response fits one send");
const _: () = assert!(PIECES_MAX <= 1024, "IOV_MAX");

/// Bytes of response heads after which a batch of pipelined answers is sent before more requests
/// are read. A head has about 350 bytes, so a full batch stays below it.
pub const HEADS_BYTES_MAX: usize = 16 * 1024;

/// Largest block (head and body) of the arena of hot bodies. Larger bodies gain nothing from lying
/// beside their head.
pub const HOT_BLOCK_BYTES_MAX: usize = 64 * 1024;

/// Blocks are multiples of this many bytes: half of it is lost per block on average.
pub const HOT_GRAIN_BYTES: usize = 512;
const _: () = assert!(HOT_BLOCK_BYTES_MAX.is_multiple_of(HOT_GRAIN_BYTES));

/// How often a file must be asked for before it is copied into the arena.
pub const HOT_HITS_MIN: u32 = 3;

/// How often the arena lets go of what was not asked for meanwhile, in seconds, once it is full.
pub const HOT_PERIOD_SECONDS: u64 = 10;

/// Receive buffers of a worker, registered with the kernel: a power of two (the kernel's rule).
/// They are only held between arrival and parsing, so they bound a batch, not the connections. When
/// none is left the kernel ends the receive, which is armed again.
pub const RECV_BUFFERS: u16 = 512;
const _: () = assert!(RECV_BUFFERS.is_power_of_two());

/// Size of a receive buffer in bytes: one holds nearly every request, or a pipelined batch.
pub const RECV_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes received ahead of the answer under way, per connection, after which receiving pauses. What
/// the kernel then holds back fills its socket buffer and stops the sender by TCP's own window.
pub const BACKLOG_BYTES_PAUSE: usize = 64 * 1024;

/// Bytes received ahead of the answer at which a connection is closed and counted: a pause cannot
/// take back what was on its way, which is bounded by the receive buffers.
pub const BACKLOG_BYTES_MAX: usize =
    BACKLOG_BYTES_PAUSE + 2 * RECV_BUFFERS as usize * RECV_BUFFER_BYTES;

/// Submission queue of a worker's ring. When it is full it is submitted early: a system call more,
/// nothing lost.
pub const SUBMISSIONS: u32 = 1024;

/// Completion queue of a worker's ring. When it is full the kernel keeps the rest aside (NODROP).
pub const COMPLETIONS: u32 = 8 * SUBMISSIONS;

/// Connections that wait in the kernel for an accept, per listener. Beyond: the client's SYN is
/// dropped and tried again by its kernel. It also bounds how many connections can come between
/// reaching the limit of connections and the end of accepting.
pub const LISTEN_BACKLOG: u32 = 1024;

/// Most listeners of the configuration.
pub const LISTENERS_MAX: usize = 64;

/// Most workers: more cores than any box that this is built for.
pub const WORKERS_MAX: usize = 256;

/// Kernel threads that one worker's ring may use for what would block (open, page in). They bound
/// how many cold files are read at once; the rest wait in order.
pub const KERNEL_WORKERS_MAX: u32 = 64;

/// Files that a worker is opening at once. Where storage hangs, opens outlive the connections that
/// asked for them. Beyond: 503, until some are over.
pub const OPENINGS_MAX: usize = 4096;

/// Pieces of files that a worker is reading in at once; as above. Beyond: 503, or the end of a body
/// that was begun.
pub const PAGE_INS_MAX: usize = 4096;

/// Piece of a file that is made resident at once, in bytes. Small enough that the first bytes of a
/// large cold file leave soon, large enough that the disk is read in long runs.
pub const CHUNK_BYTES: u64 = 1 << CHUNK_SHIFT;

/// `CHUNK_BYTES` as a power of two.
pub const CHUNK_SHIFT: u32 = 20;

/// Most bytes handed to the kernel by one sendfile, so that one connection with a large window does
/// not hold up the others of its worker: about 0.1 ms at memory speed.
pub const SENDFILE_BYTES_MAX: u64 = 1 << 20;

/// How often a worker looks for connections whose time has run out, in milliseconds. Timeouts are
/// given in seconds, so a quarter is exact enough.
pub const SWEEP_MS: u64 = 250;

/// How many times a request's file may change or be evicted between being opened and being served
/// before the request is answered 503.
pub const OPEN_TRIES_MAX: u8 = 8;

/// Messages from the tree thread or control to one worker. When full, the sender raises the flag
/// that makes the worker drop every file it has open: a flush holds all other messages.
pub const WORKER_QUEUE: usize = 1024;

/// Messages of workers, the tree thread and the store to control: of the store, and of each worker,
/// its share of every purge under way and every question; of each worker also what its clients
/// changed, and five in its life. The sender blocks, which control, that may be waiting to give it
/// an order, must not have to wait for: it never gets full.
pub const CONTROL_QUEUE: usize =
    (PURGES_MAX + PURGE_REQUESTS_MAX) * (WORKERS_MAX + 1) + 6 * WORKERS_MAX;

/// Directories that are watched. Beyond (or beyond the kernel's own limit), files are checked by
/// age, and a metric says so.
pub const WATCHES_MAX: usize = 1 << 20;

/// Connections to the admin listener at once. Beyond: the oldest is closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// Connections to the control socket at once; anybody on the box may open some. Beyond: the oldest
/// idle one is closed, one of an operator only for another operator's.
pub const CONTROL_CONNECTIONS_MAX: usize = 32;

/// Longest line of the control socket, in bytes without its end: two URLs of the longest file name,
/// or a hundred common ones. Beyond: an error, and the connection is closed.
pub const CONTROL_LINE_BYTES_MAX: usize = 8 * 1024;
const _: () = assert!(CONTROL_LINE_BYTES_MAX > 2 * KEY_BYTES_MAX, "any file's URL fits a line");

/// Requests to purge (or to say why) that are known at once; each may hold as many purges as a line
/// or a head has room for. An operator sends one, a script a few. Beyond: "busy", to try again.
pub const PURGE_REQUESTS_MAX: usize = 16;

/// Purges under way at once, of all requests: each costs every worker two messages. Beyond: they
/// wait in order.
pub const PURGES_MAX: usize = 16;
const _: () = assert!(2 * PURGES_MAX < WORKER_QUEUE / 8, "purges leave the queue to the tree");

/// Purges that a worker asks control for at once, for what its clients' requests changed. Beyond:
/// they wait for the next time.
pub const INVALIDATION_BATCH: usize = 256;

/// Purges that wait in a worker for control to do those before, for what its clients' requests
/// changed: a second of them at 4,000 a second, or a disk that hangs. Beyond: equal ones become
/// one, then all of a host its directory, then all of them everything.
pub const INVALIDATIONS_WAITING_MAX: usize = 4096;
const _: () = assert!(INVALIDATIONS_WAITING_MAX > INVALIDATION_BATCH, "a batch may wait");

/// How long an answer waits until what it made invalid is gone, in seconds. That takes a
/// millisecond; longer behind an operator's purge of a large tree, or on a disk that hangs. Beyond:
/// the answer is sent, the removal goes on, and a counter says so.
pub const INVALIDATION_SECONDS_MAX: u64 = 10;

/// File descriptors kept for what is not a connection or an open large file: listeners, rings,
/// standard streams, event descriptors, and the short life between open and map.
pub const DESCRIPTORS_RESERVED: u64 = 512;

/// Share of `vm.max_map_count` (in percent) that the tables of open files take together; the rest
/// is for the heap, libraries, stacks.
pub const MAP_COUNT_PERCENT: u64 = 75;

/// Share of the machine's memory that the arenas of hot bodies may take together: one in this many.
/// The rest is for the page cache, from which everything else is served.
pub const HOT_MEMORY_SHARE: u64 = 8;

/// Fewest files that a worker's table holds, however tight the machine's limits are.
pub const OPEN_FILES_MIN: usize = 64;

/// Longest head of an origin's answer, in bytes, that the configuration may allow. Real ones have
/// 0.5 to 8 KiB; long policies and cookies reach 16. All of it is kept until it is whole. Beyond:
/// the answer is refused and the connection closed. At most `HEADERS_MAX` fields, likewise.
pub const ORIGIN_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Interim answers (1xx) read over before the answer itself. A server sends one or two (100, 103),
/// one that reports progress (102) a few more. Each may take `first_byte_timeout`, so this bounds
/// how long an origin can put a request off. Beyond: the answer is refused.
pub const ORIGIN_INTERIMS_MAX: u8 = 8;

/// Addresses of one origin. A request tries each at most once, so this bounds how many connect
/// timeouts it can suffer; which it tried is kept in 16 bits. Beyond: the configuration is refused.
pub const ORIGIN_ADDRESSES_MAX: usize = 16;

/// Most connections to one address of an origin, per worker, that the configuration may allow: each
/// costs a descriptor here and a place at the origin. At the bound requests wait.
pub const ORIGIN_CONNECTIONS_MAX: usize = 1024;

/// Most requests that wait for a connection to an origin, per worker, that the configuration may
/// allow. Waiting ones are searched in a row when one is cancelled or times out. At the bound a
/// request is refused at once, so that a slow origin is felt by its own host only.
pub const ORIGIN_WAITERS_MAX: usize = 4096;

/// Doublings of the time that a failing address is left alone. 2^10 times the least time is beyond
/// any sensible most, which bounds the time itself.
pub const ORIGIN_DOWN_DOUBLINGS_MAX: u32 = 10;

/// Longest record of a stored answer's head, in bytes. ext4 keeps an attribute in one block of
/// 4 KiB and refuses a longer one, XFS and Btrfs take more. Beyond: the answer is not stored.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Longest TLS record on the wire, in bytes: header 5, plaintext 2^14, and the 2048 by which TLS
/// 1.2 lets encryption lengthen it (RFC 5246 6.2.3; TLS 1.3 has 256). rustls refuses longer ones.
pub const TLS_RECORD_BYTES_MAX: usize = 5 + (1 << 14) + 2048;

/// Most ciphertext kept of an incomplete TLS message. A message of the handshake may have 64 KiB,
/// beyond which rustls refuses it, in records that each add a header; real chains of certificates
/// have 3 to 8. Besides that a piece of the next record, and the one just read. Only a peer that
/// cuts a long message into tiny records gets there: the session fails.
pub const TLS_INPUT_BYTES_MAX: usize = 128 * 1024;
const _: () = assert!(TLS_INPUT_BYTES_MAX >= 64 * 1024 + 2 * TLS_RECORD_BYTES_MAX);

/// Most plaintext that a session keeps until its TLS handshake is over: one request's head, which
/// is made from one that `limits` of the configuration let in. Beyond: `send` refuses.
pub const TLS_PENDING_BYTES_MAX: usize = 64 * 1024;

/// TLS tickets kept to resume sessions with, per origin and worker. rustls keeps 8 for each name,
/// and an origin has one name, or another for each of a few addresses. Beyond: the oldest name's
/// are forgotten, and its next handshake is a full one.
pub const TLS_TICKETS_MAX: usize = 4 * 8;

/// Most parts of a name below the root, host directory included, that a stored file has. Sites go
/// four to ten deep; the walk through the tree holds a directory open per level. Beyond: the answer
/// is passed on, not stored.
pub const KEY_PARTS_MAX: usize = 64;

/// Bodies that are being written at once, each with a descriptor. Small ones come whole and hold it
/// for one call; these are the large and the slow. Beyond: the answer is passed on, not stored.
pub const STORE_OPEN_MAX: usize = 1024;

/// Directories that the store keeps open for a moment, each with a descriptor: bodies that come at
/// about the same time go to a few. Beyond: all are closed, and opened again as they are needed.
pub const STORE_DIRECTORIES_MAX: usize = 256;

/// Longest head of a stored file, in bytes: XATTR_SIZE_MAX of Linux. ext4 takes less (a block for
/// all attributes of a file). Beyond: the answer is passed on, not stored.
pub const STORED_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Messages of workers, the tree thread and control to the store: two seconds of misses at 4,000 a
/// second. When full the sender does not store, and counts it; purges wait for room.
pub const STORE_QUEUE: usize = 8192;

/// Names that the store put in place and the kernel has not told of: a second of misses at 16,000 a
/// second, which the tree thread reads every 10 ms. Beyond: taken for somebody else's doing, and
/// looked at.
pub const PLACED_MAX: usize = 16 * 1024;

/// Orders that control keeps until the store has room for them: its purges under way, questions,
/// and the last limits. No more are given before the store has answered.
pub const STORE_ORDERS_MAX: usize = PURGES_MAX + PURGE_REQUESTS_MAX + 1;

/// Messages that wait for the store before a worker lets it have the core, where they share one:
/// what has just been received is written while it is in the processor's cache, and the buffers are
/// there for the next. Nobody waits where the store has a core of its own, or waits for the disk.
/// Few enough that so many small bodies and the receives of as many connections fit in a second
/// level of 1 MiB, many enough that changing threads costs next to nothing for each.
pub const STORE_BEHIND_MAX: usize = 16;

/// How often a new file is tried to be put in its place while others change what is there. Each try
/// answers one change: parents made, a directory found, a stored file replaced. Beyond: not stored.
pub const PLACE_TRIES_MAX: u8 = 8;

/// Words between workers, or of the store to a worker, that wait. When full, a worker keeps what it
/// has to say and tries again with its next batch; the store waits.
pub const PEER_QUEUE: usize = 4096;

/// Connections to origins of one worker, all origins together: places in its table of sockets.
/// Beyond: an address counts as one that takes no connections.
pub const ORIGIN_SOCKETS_MAX: usize = 4096;

/// Room for what an origin sends, per receive, in bytes: a small picture with its head fits in.
pub const ORIGIN_BUFFER_BYTES: usize = 32 * 1024;

/// The same once a large body is known to follow: fewer, longer receives.
pub const ORIGIN_BUFFER_BYTES_LARGE: usize = 256 * 1024;

/// Bytes of a request's body that are sealed at once for an origin under TLS: about 0.1 ms, and
/// few enough sends. The rest is sealed when these are sent.
pub const ORIGIN_SEAL_BYTES: usize = 256 * 1024;

/// Buffers of `ORIGIN_BUFFER_BYTES` that a worker keeps to receive into again: as many small
/// answers as wait for the store while it writes. Beyond: the allocator's business.
pub const ORIGIN_SPARES_MAX: usize = 256;

/// Buffers of `ORIGIN_BUFFER_BYTES` that a worker lends to the kernel for what origins send; a
/// power of two (the kernel's rule). As many as answers begin at about the same time: they come
/// round in turn, so that more would only be further away from the processor. Beyond: the receive
/// is done again with a buffer of its own.
pub const ORIGIN_LENT: u16 = 16;
const _: () = assert!(ORIGIN_LENT.is_power_of_two());

/// Gathered sends that a worker keeps to ask origins with again. Beyond: the allocator's business.
pub const ORIGIN_SPARE_SENDS_MAX: usize = 64;

/// Fetches that one worker has or follows at once. Beyond: 503.
pub const FETCHES_MAX: usize = 16 * 1024;

/// Bytes of one answer that are kept in memory for those who follow it. Beyond: what is in the
/// store's file is read from there; where there is no file the origin is read no further until the
/// slowest has caught up.
pub const FOLLOW_BYTES_MAX: usize = 16 << 20;

/// The same for all answers that one worker fetches. Beyond: each keeps a sixteenth of the above.
pub const FOLLOW_MEMORY_MAX: usize = 256 << 20;

/// Pieces of an answer that one send gathers: they share a message with `PIECES_MAX` in all.
pub const FOLLOW_PIECES_MAX: usize = 64;
const _: () = assert!(2 * FOLLOW_PIECES_MAX + 2 <= PIECES_MAX, "each may have a chunk's frame");

/// Bytes of an answer that one send gathers, so that a fast client does not hold up the others.
pub const FOLLOW_SEND_BYTES_MAX: u64 = 1 << 20;

/// Answers other than 200 that a worker keeps in memory. Beyond: those not asked for lately go.
pub const KEPT_MAX: usize = 4096;

/// Longest body of such an answer: error pages and redirects have 0 to 10 KiB. Beyond: not kept.
pub const KEPT_BYTES_MAX: u64 = 16 * 1024;

/// Keys that a worker knows to have answers which are for one client only. When full all are
/// forgotten: each is found out again by one request that others wait for.
pub const PASSES_MAX: usize = 16 * 1024;

/// How long that is believed, in seconds.
pub const PASS_SECONDS: u64 = 30;

/// Bytes of one answer that were handed to the store and are not in the file yet. Beyond: the disk
/// is too slow for it, and the answer is passed on without being stored.
pub const STORE_BEHIND_BYTES_MAX: u64 = 64 << 20;

/// Entries of directories that the store looks at before it sees to its queue again: 2 to 5 ms if
/// the tree's inodes are in memory.
pub const STORE_STEP_ENTRIES_MAX: usize = 512;

/// Directories that came by other hands and are still to be looked through. Beyond: the whole tree
/// is.
pub const SCAN_DIRECTORIES_MAX: usize = 1024;

/// Eviction begins this many percent of a bound before it is reached, so that a full disk is never
/// met by a body on its way. At 100 MB/s, 2 % of 100 GB are 20 s ahead.
pub const EVICT_AHEAD_PERCENT: u64 = 2;

/// Eviction ends this many percent of a bound away from it: each walk through the tree frees 3 %.
pub const EVICT_TO_PERCENT: u64 = 5;
const _: () = assert!(EVICT_TO_PERCENT > EVICT_AHEAD_PERCENT, "eviction gets out of its own way");

/// Longest tag, in bytes. CDNs allow 128 to 1024. Beyond: it is no tag.
pub const TAG_BYTES_MAX: usize = 256;

/// Most tags of one answer that are kept. The rest is ignored.
pub const TAGS_MAX: usize = 64;

/// Entries of the index of tags, one per name and tag: about 100 bytes each, 100 MB. Beyond: purges
/// by tag read the heads of the whole tree, until the next start.
pub const TAGGED_NAMES_MAX: usize = 1 << 20;

/// Messages that the store takes before it does a piece of other work and tells its counters.
pub const STORE_BATCH: usize = 256;

/// Names served lately that a worker tells the store of at once. Beyond: the next hits are told of.
pub const USED_NAMES_MAX: usize = 16 * 1024;

/// How often at most a file's use is told, in seconds: an epoch of the inventory.
pub const USED_PERIOD_SECONDS: u64 = 60;

/// Bits that remember which names are in the tree: 8 MiB, of which only what is used takes memory.
pub const PRESENCE_BITS: usize = 1 << 26;
const _: () = assert!(PRESENCE_BITS.is_multiple_of(64));

/// Names after which they say too little: a tenth of the bits, one of 80 absent names is taken for
/// present. Beyond: they are filled anew by looking through the tree; a tree with more names is
/// asked the disk.
pub const PRESENCE_NAMES_MAX: u64 = PRESENCE_BITS as u64 / 10;

/// Longest name of a user in the index of who is online, in bytes: a row counts it in eight bits.
/// Beyond: the hit is dropped and counted.
pub const ONLINE_NAME_BYTES_MAX: usize = 255;

/// Longest url in the index of who is online, in bytes. Browsers and proxies keep to 2,048; what is
/// longer is seldom a page. Beyond: the hit is dropped and counted.
pub const ONLINE_URL_BYTES_MAX: usize = 2048;

/// Longest request to the service of who is online, in bytes, an inline line included: what Redis
/// takes of a line. A url has 2,048. Beyond: a protocol error, and the connection is closed.
pub const ONLINE_REQUEST_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(ONLINE_REQUEST_BYTES_MAX > 4 * ONLINE_URL_BYTES_MAX);

/// Bytes of a client that wait for being carried out, after which receiving pauses. Well above the
/// longest request: one that is not whole by then is one that is too long, and refused.
pub const ONLINE_INPUT_BYTES_PAUSE: usize = 2 * ONLINE_REQUEST_BYTES_MAX;

/// Most arguments of a request to it. The longest commands have seven, but a client may ask about
/// all commands by name. Beyond: a protocol error, and the connection is closed.
pub const ONLINE_ARGUMENTS_MAX: usize = 256;

/// Requests of one connection that the service carries out before it looks at the others; costly
/// ones count as several. The rest of a pipeline waits for the next turn.
pub const ONLINE_TURN_COST_MAX: u64 = 1024;

/// Bytes of replies after which no more requests of a connection are carried out until these are
/// sent. One reply may exceed it by what `ONLINE_ROWS_MAX` allows.
pub const ONLINE_REPLIES_BYTES_MAX: usize = 256 * 1024;

/// Most users that one reply lists, whatever its LIMIT: 2.7 MB with the longest names. Beyond: an
/// error that says so.
pub const ONLINE_ROWS_MAX: usize = 10_000;

/// Most urls that one reply lists: 2.1 MB with the longest ones. Beyond: an error that says so.
pub const ONLINE_URLS_LISTED_MAX: usize = 1000;

/// Bytes of hits that one who watches may be behind: some 10,000 lines. Beyond: lines are left out,
/// which a line says, and counted; neither publishers nor other watchers wait.
pub const ONLINE_WATCH_BYTES_MAX: usize = 1 << 20;

/// Rows that are looked at for their age at a time: 0.3 ms; between two times requests are read.
pub const ONLINE_CULL_ROWS: u32 = 1000;

/// Hits of one batch of a worker: more than it answers between two waits. Beyond: one more batch.
pub const ONLINE_BATCH_HITS_MAX: usize = 1024;

/// Bytes of one batch of a worker: 1,024 hits with usual names, and some of the longest. Beyond:
/// one more batch.
pub const ONLINE_BATCH_BYTES_MAX: usize = 128 * 1024;
const _: () = assert!(ONLINE_BATCH_BYTES_MAX > 2 * (ONLINE_URL_BYTES_MAX + ONLINE_NAME_BYTES_MAX));

/// Batches of hits that wait for the service: a burst of 100,000 requests that came one by one fits
/// a tenth of a second of a thread that is held up. Beyond: dropped and counted.
pub const ONLINE_QUEUE: usize = 4096;

/// Emptied batches that wait to be used again: a few for each worker.
pub const ONLINE_SPARE: usize = 64;

/// Hits of workers that the service applies between two looks at its clients: some 10 ms. Beyond:
/// the next turn.
pub const ONLINE_FED_HITS_MAX: usize = 16 * 1024;

/// Slices of `ONLINE_CULL_ROWS` between two looks at the clients: 2 ms. Beyond: the next turn, and
/// counts have a few that are due to leave.
pub const ONLINE_CULL_SLICES: u32 = 8;

/// How long a client of the service may take none of its replies, in seconds: as long as HTTP's
/// `limits.send_timeout` by itself. Beyond: it is closed and counted.
pub const ONLINE_SEND_SECONDS: u64 = 30;

/// How long what a client still sends is read over after its last reply, in milliseconds: closing
/// at once would reset the connection, and may take the reply with it. Beyond: it is closed.
pub const ONLINE_LINGER_MS: u64 = 1000;
