# Ways to craft an image.
#
# Each function changes one thing, all random choices from one generator.  What
# it does to parts that model.py does not judge it says in image.touched.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from image import (BLOCK_LEN, BLOCK_MAGIC, EXT_LEN, EXT_MAGIC, FIELDS, MAX_CLAIMED,
                   MAX_CLAIMS, RECORD_LEN, ZONED_BIT, Block, Claim, checksum)

KiB = 1024
MAX_LENGTH = 200 * KiB * KiB
# Where the table is, and how long, depends on these
PLACING = ('table_offset', 'nr_zones', 'descriptor_extension_size', 'claims_offset')


def number(rng, image, size, old):
    """A value that has to do with the old one, the image, or its own limits"""
    top = 1 << 8 * size
    cluster = image.cluster_size
    return rng.choice((
        0, 1, 2, top - 1, top - 2, top >> 1, (top >> 1) - 1, top - cluster,
        old + 1, old - 1, old * 2, old // 2, old + 512, old - 512, old + cluster,
        old - cluster, old + 4096, old - 4096, old ^ 1 << rng.randrange(8 * size),
        image.size, image.length, cluster, 4096, 512, 8, rng.randrange(top),
        rng.randrange(64), 1 << rng.randrange(8 * size),
        (1 << rng.randrange(8 * size)) - 1)) % top


def somewhere(rng, image):
    """Offsets in the file, and some that are not"""
    places = [offset for _, offset, _ in image.places()]
    end = -(-image.length // image.cluster_size) * image.cluster_size
    return rng.choice((*places, *places, end - image.cluster_size, end,
                       rng.randrange(0, end, image.cluster_size),
                       number(rng, image, 8, image.fields()['table_offset'])))


# --- The header extension ---

def field(rng, image):
    at = image.zone_extension()
    there = [f for f in FIELDS if f[1] < max(image.get(at - 4, 4), EXT_LEN)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        name, offset, size = rng.choice(there)
        old = image.get(at + offset, size)
        if name in PLACING:
            image.touched.add('place')
        image.put(at + offset, size, number(rng, image, size, old))


def swap_fields(rng, image):
    at, size = image.zone_extension(), rng.choice((4, 8))
    one, two = rng.sample([f for f in FIELDS if f[2] == size and f[1] < max(
        image.get(at - 4, 4), EXT_LEN)], 2)
    values = [image.get(at + f[1], size) for f in (one, two)]
    image.put(at + one[1], size, values[1])
    image.put(at + two[1], size, values[0])
    image.touched.add('place')


def put_fields(image, values):
    at = image.zone_extension()
    for name, offset, size in FIELDS:
        if name in values and offset < image.get(at - 4, 4):
            image.put(at + offset, size, values[name])


def random_write_area(rng, image):
    """Fields that go together, or nearly"""
    f = image.fields()
    unit = rng.choice((512, 1024, 4096, 12288, 256, 6144, f['zone_capacity']))
    put_fields(image, {
        'zrwa_flush_granularity': unit,
        'zrwa_size': rng.choice((unit, unit * 2, unit * 4, f['zone_capacity'],
                                 f['zone_capacity'] + unit, unit + 512, 0)),
        'zrwa_zones': rng.choice((0, 0, 1, 2, 7, 8, 9))})


def descriptor_extensions(rng, image):
    """Behind the records, where there was something else or nothing"""
    f, cluster = image.fields(), image.cluster_size
    size = rng.choice((64, 128, 192, 16320, 16384, 100, 0))
    records = -(-f['nr_zones'] * RECORD_LEN // cluster) * cluster
    end = f['table_offset'] + records
    put_fields(image, {
        'descriptor_extension_size': size,
        'descriptor_extension_offset': rng.choice((end, end, end, end + cluster, 0))})
    image.length = max(image.length, min(end + size * f['nr_zones'], MAX_LENGTH) +
                       rng.choice((0, 0, -1, -512, cluster)))
    image.touched.add('place')


def extension_bytes(rng, image):
    """Anything can be in a descriptor extension."""
    f = image.fields()
    size = f['nr_zones'] * f['descriptor_extension_size']
    at = f['descriptor_extension_offset']
    if 'place' in image.touched or not 0 < size <= len(image.data) - at:
        raise ValueError
    for _ in range(rng.choice((1, 10, 100))):
        image.data[at + rng.randrange(size)] = rng.randrange(256)


def extension_length(rng, image):
    at = image.zone_extension()
    length = rng.choice((0, 8, 72, 79, 80, 81, 84, 88, 92, 96, 512, image.cluster_size,
                         image.cluster_size - at, (1 << 32) - 1, (1 << 32) - 8,
                         number(rng, image, 4, EXT_LEN)))
    image.put(at - 4, 4, length)
    image.touched.add('extensions')


def longer_extension(rng, image):
    """With room for what is longer, as a later version may write it"""
    at, more = image.zone_extension(), rng.choice((8, 16, 64, 512, 3))
    filler = bytes(more) if rng.random() < .5 else rng.randbytes(more)
    end, length = image.cluster_size, image.get(at - 4, 4)
    image.put(at - 4, 4, length + more)
    header = (image.data[:at + length] + filler + bytes(-more % 8) +
              image.data[at + length:end])
    if length == EXT_LEN:
        image.touched.add('place')      # what is new may be a claim area
    image.data[:end] = header[:end]
    if len(header) > end:
        image.touched.add('extensions')


def second_extension(rng, image):
    at = image.zone_extension()
    extension = image.data[at - 8:at + image.get(at - 4, 4)]
    end = image.cluster_size
    image.data[:end] = (image.data[:at - 8] + extension + image.data[at - 8:end])[:end]
    image.touched.add('extensions')


def no_extension(rng, image):
    image.put(image.zone_extension() - 8, 4, rng.choice((
        0, EXT_MAGIC + 1, EXT_MAGIC ^ 1 << rng.randrange(32))))
    image.touched.add('extensions')


def feature_bit(rng, image):
    image.put(72, 8, image.get(72, 8) ^ ZONED_BIT)


def image_size(rng, image):
    old = image.size
    image.put(24, 8, rng.choice((number(rng, image, 8, old),
                                 old + rng.choice((-1, 1)) * image.fields()['zone_size'],
                                 old - rng.choice((1, 511, 512, 4096)))))
    image.touched.add('plain')


def many_zones(rng, image):
    """As large as can be: L1 table and zone table are zeroes behind the file."""
    cluster = image.cluster_size
    zones = rng.choice((65536, 1 << 20, 4194304, 4194305, 5000, rng.randrange(1, 1 << 22)))
    zone_size = max(cluster, 4096)
    size = zones * zone_size
    entry = 16 if image.get(72, 8) & 16 else 8
    entries = -(-size // (cluster // entry * cluster))
    end = -(-image.length // cluster) * cluster
    table = end + -(-entries * 8 // cluster) * cluster
    length = table + zones * RECORD_LEN + rng.choice((0, 0, 0, -1, cluster))
    # With a long L1 table, plain qcow2 is slow
    if entries > 1 << 16 or length > MAX_LENGTH:
        return
    image.put(24, 8, size)
    image.put(36, 4, entries)
    image.put(40, 8, end)
    put_fields(image, {'zone_size': zone_size, 'zone_capacity': zone_size,
                       'max_append_bytes': 4096, 'table_offset': table,
                       'nr_zones': zones, 'descriptor_extension_size': 0,
                       'descriptor_extension_offset': 0, 'claims_offset': 0})
    image.length = length
    image.touched |= {'plain', 'place', 'many'}


# --- The zone table ---

def zone_table(image):
    f = image.fields()
    if 'place' in image.touched:
        image.touched.add('plain')      # what is there is anything
    if f['table_offset'] + f['nr_zones'] * RECORD_LEN > len(image.data):
        raise ValueError
    return f['table_offset'], f['nr_zones'], f


def record(rng, image):
    table, count, f = zone_table(image)
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        i = rng.randrange(min(count, 64) if rng.random() < .9 else count)
        change_record(rng, image, table + i * RECORD_LEN, i * f['zone_size'], f)


def pointer(rng, image, start, f):
    end = start + f['zone_capacity']
    return rng.choice((start, end, start + f['zone_size'], end - 512, start + 512,
                       start - 512, end + 512, start + 4096, start + 1, end - 1,
                       0, image.size, 1 << 50, (1 << 51) - 1, (1 << 64) - 512,
                       rng.randrange(start, end), rng.randrange(start, end, 512)))


def change_record(rng, image, at, start, f):
    first, second = image.get(at, 8), image.get(at + 8, 8)
    low = (1 << 51) - 1
    what = rng.randrange(9)
    if what == 0:           # state
        first = first & (1 << 60) - 1 | rng.randrange(16) << 60
    elif what == 1:         # attributes, and the bit of conventional zones
        first ^= 1 << rng.randrange(51, 60)
    elif what == 2:
        first = first & ~low | pointer(rng, image, start, f) & low
    elif what == 3:
        second = pointer(rng, image, start, f)
    elif what == 4:         # both, with or without sense
        second = pointer(rng, image, start, f)
        state = rng.choice((0, 0, 1, 2, 3, 13, 14, 15))
        wp = start + f['zone_capacity'] if state == 14 else second
        first = state << 60 | wp & low
    elif what == 5:
        first ^= 1 << rng.randrange(64)
    elif what == 8:         # as what was written in a random write area leaves it
        wp, area = pointer(rng, image, start, f), f['zrwa_size']
        attributes = rng.choice((8, 8, 0x88, 0x80, 0x81, 9, 1, 0, 2, 10, 4))
        first = rng.choice((0, 0, 1, 2, 3)) << 60 | attributes << 51 | wp & low
        second = wp + rng.choice((0, area, area + 512, -512, -area, area // 2))
    elif what == 6:
        first, second = rng.choice(((second, first), (0, 0), (1 << 59, 0),
                                    ((1 << 64) - 1, (1 << 64) - 1)))
    else:
        first, second = rng.getrandbits(64), rng.getrandbits(64)
    image.put(at, 8, first)
    image.put(at + 8, 8, second)


def live_states(rng, image):
    """Handed over by another process, perhaps with more open than there may be"""
    _, count, f = zone_table(image)
    put_fields(image, {'flags': 1})
    attributes = [0, 0, 1, 2] + [8] * bool(f['zrwa_size']) + (
        [0x80] * bool(f['descriptor_extension_size']))
    for i in range(f['conventional_zones'], min(count, 64)):
        if rng.random() < .5:
            wp = rng.choice((0, 512, 4096))
            image.put_record(i, rng.choice((1, 2, 3)), rng.choice(attributes), wp, wp)


def swap_records(rng, image):
    table, count, _ = zone_table(image)
    one, two = (table + rng.randrange(count) * RECORD_LEN for _ in range(2))
    data = image.data
    data[one:one + 16], data[two:two + 16] = data[two:two + 16], data[one:one + 16]


def shift_table(rng, image):
    table, count, _ = zone_table(image)
    end, by = table + count * RECORD_LEN, rng.choice((1, 8, 16, 512))
    image.data[table:end] = (bytes(by) + image.data[table:end])[:end - table]


def move_table(rng, image):
    image.put(image.zone_extension() + 48, 8, somewhere(rng, image))
    image.touched.add('place')


def truncate(rng, image):
    table, count, _ = zone_table(image)
    end = rng.choice((table, table + 1, table + 16, table + count * RECORD_LEN - 1,
                      rng.randrange(104, len(image.data))))
    del image.data[end:]
    image.length = len(image.data)
    image.touched.add('plain')


# --- Claims ---

class Claims:
    """Two claim blocks to be written; right until something is changed."""
    def __init__(self, rng, image):
        self.rng, self.image, self.f = rng, image, image.fields()
        zone_table(image)
        # Where the data is must be known
        if not self.f['claims_offset'] or image.touched & {'plain', 'place'}:
            raise ValueError
        if not self.f['zone_size']:
            raise ValueError
        self.slot = rng.randrange(2)
        sequence = rng.choice((0, 1, 1000, 1 << 63, (1 << 64) - 1))
        full = [claim for claim in map(self.of, self.zones()) if claim]
        # A block claims what the one before it did, or more
        self.newest = Block(sequence, full)
        self.before = Block(sequence - 1, [self.part(claim) for claim in full
                                           if rng.random() < .7])

    def zones(self):
        f, rng = self.f, self.rng
        some = range(f['conventional_zones'],
                     min(-(-self.image.size // f['zone_size']), 64))
        return rng.sample(some, min(len(some), rng.choice((1, 1, 2, 3, 6, 64))))

    def of(self, zone):
        """Of what is in a zone, whose record goes back for it"""
        f, rng, image = self.f, self.rng, self.image
        start, capacity = zone * f['zone_size'], f['zone_capacity']
        capacity = min(capacity, image.size - start)
        old = image.get(f['table_offset'] + zone * RECORD_LEN, 8)
        attributes = old >> 51 & 0x82
        base = rng.choice((0, 0, 512, 4096, rng.randrange(0, capacity, 512)))
        length = rng.choice((512, 1024, 4096, 8192, 65536, MAX_CLAIMED, capacity,
                             rng.randrange(0, capacity, 512) + 512))
        end = min(base + length, capacity)
        if base == end or not -1 < (old & (1 << 51) - 1) - start <= capacity:
            return None
        epoch = rng.choice((0, 0, 1, 15))
        if rng.random() < .9:
            image.put_record(zone, 0, attributes, base, base, epoch)
        data = image.data_of(start + base, start + end)
        return Claim(zone, epoch, start + base, start + end, checksum(data or bytes(512)))

    def part(self, claim):
        length = self.rng.randrange(0, claim.end - claim.start, 512) + 512
        data = self.image.data_of(claim.start, claim.start + length)
        return Claim(claim.zone, claim.epoch, claim.start, claim.start + length,
                     checksum(data or bytes(512)))

    def store(self):
        self.image.put_block(self.slot, self.newest.bytes())
        self.image.put_block(1 - self.slot, self.before.bytes())


def claims(rng, image):
    Claims(rng, image).store()


def wrong_claim(rng, image):
    """One field of one claim, in a block with the right checksum"""
    c = Claims(rng, image)
    block = rng.choice((c.newest, c.newest, c.before))
    if not block.claims:
        raise ValueError
    claim, f = rng.choice(block.claims), c.f
    what = rng.randrange(7)
    if what == 0:
        claim.checksum = rng.choice((
            claim.checksum ^ 1 << rng.randrange(64), 0, 1, claim.checksum >> 32,
            claim.checksum & 0xffffffff, claim.checksum >> 32 << 32,
            checksum(bytes(claim.end - claim.start))))
    elif what == 1:
        claim.epoch = rng.choice((claim.epoch ^ 1, claim.epoch + 1, 16,
                                  claim.epoch + 16, claim.epoch - 1, 0, 15))
    elif what == 2:
        claim.zone = rng.choice((0, claim.zone + 1, claim.zone - 1, f['nr_zones'] - 1,
                                 f['nr_zones'], number(rng, image, 4, claim.zone)))
    elif what == 3:
        claim.start = number(rng, image, 8, claim.start)
    elif what == 4:
        claim.end = number(rng, image, 8, claim.end)
    elif what == 5:
        claim.start, claim.end = rng.choice((
            (claim.end, claim.start), (claim.start, claim.start),
            (claim.start + 512, claim.end), (claim.start, claim.end + 512),
            (claim.start, claim.start + f['zone_size']),
            (claim.start & ~(f['zone_size'] - 1), claim.end)))
    else:
        claim.start, claim.end = (pointer(rng, image, claim.zone * f['zone_size'], f)
                                  for _ in range(2))
    if what != 0 and rng.random() < .8 and claim.start < claim.end <= image.size:
        data = image.data_of(claim.start, claim.end)
        claim.checksum = checksum(data or bytes(512))
    c.store()


def wrong_record(rng, image):
    """What a claim is about is not what it says, but nearly."""
    c = Claims(rng, image)
    claim, f = rng.choice(c.newest.claims or c.before.claims or [None]), c.f
    if not claim:
        raise ValueError
    state, attributes = rng.choice((
        (1, 0), (2, 0), (3, 0), (13, 0), (14, 0), (15, 0), (0, 8), (0, 1), (0, 2),
        (0, 0x80)))
    start = claim.zone * f['zone_size']
    wp = f['zone_capacity'] if state == 14 else claim.start - start
    put_fields(image, {'flags': rng.choice((0, 0, 1))})
    image.put_record(claim.zone, state, attributes, wp,
                     claim.start - start, claim.epoch)
    c.store()


def wrong_block(rng, image):
    """What is around the claims, with the right checksum"""
    c = Claims(rng, image)
    block, other = rng.choice(((c.newest, c.before), (c.before, c.newest)))
    what = rng.randrange(8)
    if image.name == 'zones' and rng.random() < .7:
        what = 7
    if what == 0:
        block.magic = rng.choice((0, BLOCK_MAGIC ^ 1 << rng.randrange(32)))
    elif what == 1:
        block.count = rng.choice((0, 1, len(block.claims) - 1, len(block.claims) + 1,
                                  MAX_CLAIMS, MAX_CLAIMS + 1, (1 << 32) - 1,
                                  number(rng, image, 4, len(block.claims))))
    elif what == 2:
        block.sequence = rng.choice((0, 1, other.sequence, other.sequence + 1,
                                     other.sequence - 1, other.sequence + 2,
                                     other.sequence - 2, 1 << 63, (1 << 64) - 1,
                                     number(rng, image, 8, block.sequence)))
    elif what == 3:
        block.reserved = number(rng, image, 8, 0)
    elif what == 4:
        rng.shuffle(block.claims)
    elif what == 5 and block.claims:        # the same zone twice
        block.claims.insert(0, rng.choice((block.claims[0], c.part(block.claims[0]))))
    elif what == 6:
        block.rest = rng.randbytes(rng.choice((8, 32, 4096)))
    else:                                   # as many as there can be, or more
        zones = rng.choice((MAX_CLAIMS, MAX_CLAIMS + 1, MAX_CLAIMS + 1))
        first = c.f['conventional_zones']
        size = c.f['zone_size']
        block.claims = [Claim(first + n, 0, (first + n) * size,
                              (first + n) * size + 4096, checksum(bytes(4096)))
                        for n in range(zones)]
    c.store()


def torn_block(rng, image):
    """Not all of it was written."""
    c = Claims(rng, image)
    slot = rng.choice((c.slot, c.slot, 1 - c.slot))
    at = c.f['claims_offset'] + slot * BLOCK_LEN
    c.store()
    if rng.random() < .5:
        at, size = at + 512 * rng.randrange(8), 512
        image.put(at, size, rng.choice((0, rng.getrandbits(8 * size))))
    else:
        at += rng.randrange(rng.choice((32, 64, BLOCK_LEN)))
        image.put(at, 1, image.get(at, 1) ^ 1 << rng.randrange(8))


def claimed_data(rng, image):
    """The data did not get there, or not all of it."""
    c = Claims(rng, image)
    c.store()
    claim = rng.choice(c.newest.claims or [None])
    if not claim or image.kind == 'data-file':
        raise ValueError
    at = rng.choice((claim.start, claim.end - 512,
                     rng.randrange(claim.start, claim.end, 512)))
    host = image.host_offset(at, 512)
    if host is None or host + 512 > len(image.data):
        raise ValueError
    image.put(host + rng.randrange(512), 1, rng.randrange(256))


def no_claims(rng, image):
    """As images were made before there were claims"""
    put_fields(image, {'claims_offset': 0})
    image.touched.add('leak')


def move_claims(rng, image):
    put_fields(image, {'claims_offset': somewhere(rng, image)})
    image.touched.add('place')


# --- Snapshots ---

def snapshot(rng, image):
    extra = image.snapshot_extra()
    if extra is None:
        return
    image.touched.add('snapshots')
    what = rng.randrange(6)
    if what == 0:           # where its zone table is
        image.put(extra, 8, somewhere(rng, image))
    elif what == 1:         # number of records, and what is reserved
        image.put(extra + 8 + rng.choice((0, 0, 4)), 4, number(rng, image, 4, 8))
    elif what == 2:         # a record
        f, i = image.fields(), rng.randrange(8)
        change_record(rng, image, image.get(extra, 8) + i * RECORD_LEN,
                      i * f['zone_size'], f)
    elif what == 3:         # length of the extra data
        image.put(extra - 24 - 4, 4, rng.choice((0, 8, 16, 24, 32, 39, 41, 48, 1024,
                                                 number(rng, image, 4, 40))))
    elif what == 4:         # how many there are
        image.put(60, 4, number(rng, image, 4, 1))
    else:                   # anything else about it
        at = image.get(64, 8) + rng.choice((0, 8, 12, 14, 32, 40, 48, 56))
        image.put(at, 4, number(rng, image, 4, image.get(at, 4)))
    image.touched.add('plain')


# --- Blind ---

def blind(rng, image):
    name, offset, size = rng.choice(list(image.places()))
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at = offset + rng.randrange(min(size, 512 if rng.random() < .7 else size))
        if at < len(image.data):
            image.data[at] = rng.choice((0, 0xff, image.data[at] ^ 1 << rng.randrange(8),
                                         rng.randrange(256)))
    image.touched.add('plain')


def table_entry(rng, image):
    """An entry of an L1, L2 or refcount table that points somewhere else"""
    places = [p for p in image.places() if p[0] in ('L1', 'L2', 'refcount table')]
    _, offset, size = rng.choice(places)
    at = offset + 8 * rng.randrange(max(1, min(size // 8, 40)))
    flags = rng.choice((1 << 63, 0, 1, 1 << 62, 3 << 62))
    image.put(at, 8, rng.choice((somewhere(rng, image) & (1 << 56) - 1 | flags,
                                 number(rng, image, 8, image.get(at, 8)))))
    image.touched.add('plain')


# How often each is used
MUTATIONS = {
    field: 30, random_write_area: 4, descriptor_extensions: 4, extension_bytes: 1,
    swap_fields: 3, extension_length: 4, longer_extension: 3,
    second_extension: 1, no_extension: 1, feature_bit: 1, image_size: 4,
    record: 26, live_states: 3, swap_records: 2, shift_table: 2, move_table: 4,
    claims: 12, wrong_claim: 16, wrong_record: 6, wrong_block: 10, torn_block: 5,
    claimed_data: 5, no_claims: 2, move_claims: 3,
    truncate: 3, snapshot: 10, blind: 8, table_entry: 8, many_zones: .1,
}


def mutate(rng, bases):
    """One image: (image, names of what was done to it)"""
    image = rng.choice(bases).copy()
    # What is changed in the extension must be found again
    chosen = rng.choices(list(MUTATIONS), list(MUTATIONS.values()),
                         k=rng.choice((1, 1, 1, 2, 3)))
    done = []
    for mutation in chosen:
        try:
            mutation(rng, image)
        except (StopIteration, ValueError):
            break           # what it wants to change is gone already
        done.append(mutation.__name__)
    return image, done
