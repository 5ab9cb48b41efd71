# Ways to craft an image.
#
# Each function changes one thing, all random choices from one generator.  What
# it does to parts that model.py does not judge it says in image.touched.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from image import EXT_LEN, EXT_MAGIC, FIELDS, RECORD_LEN, ZONED_BIT

KiB = 1024
MAX_LENGTH = 200 * KiB * KiB
# Where the table is, and how long, depends on these
PLACING = ('table_offset', 'nr_zones', 'descriptor_extension_size')


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
    for _ in range(rng.choice((1, 1, 2, 4))):
        name, offset, size = rng.choice(FIELDS)
        old = image.get(at + offset, size)
        if name in PLACING:
            image.touched.add('place')
        image.put(at + offset, size, number(rng, image, size, old))


def swap_fields(rng, image):
    at, size = image.zone_extension(), rng.choice((4, 8))
    one, two = rng.sample([f for f in FIELDS if f[2] == size], 2)
    values = [image.get(at + f[1], size) for f in (one, two)]
    image.put(at + one[1], size, values[1])
    image.put(at + two[1], size, values[0])
    image.touched.add('place')


def put_fields(image, values):
    at = image.zone_extension()
    for name, offset, size in FIELDS:
        if name in values:
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
    length = rng.choice((0, 8, 72, 79, 81, 84, 88, 96, 512, image.cluster_size,
                         image.cluster_size - at, (1 << 32) - 1, (1 << 32) - 8,
                         number(rng, image, 4, EXT_LEN)))
    image.put(at - 4, 4, length)
    image.touched.add('extensions')


def longer_extension(rng, image):
    """With room for what is longer, as a later version may write it"""
    at, more = image.zone_extension(), rng.choice((8, 16, 64, 512, 3))
    filler = bytes(more) if rng.random() < .5 else rng.randbytes(more)
    end = image.cluster_size
    image.put(at - 4, 4, EXT_LEN + more)
    header = (image.data[:at + EXT_LEN] + filler + bytes(-more % 8) +
              image.data[at + EXT_LEN:end])
    image.data[:end] = header[:end]
    if len(header) > end:
        image.touched.add('extensions')


def second_extension(rng, image):
    at = image.zone_extension()
    extension = image.data[at - 8:at + EXT_LEN]
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
                       'descriptor_extension_offset': 0})
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
        attributes = rng.choice((8, 8, 0x88, 0x80, 0x81, 9, 1, 0))
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
    attributes = [0, 0, 1] + [8] * bool(f['zrwa_size']) + (
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
