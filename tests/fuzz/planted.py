# Bugs to be put into a copy of the block layer; the fuzzer must find each.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from typing import NamedTuple


class Bug(NamedTuple):
    name: str
    source: str
    old: str            # occurs once
    new: str


PLANTED = [
    # Memory
    Bug('extension-overflow', 'block/qcow2-zoned.c',
        'if (len < sizeof(ext) || len % 8) {', 'if (len % 8) {'),
    Bug('too-few-records', 'block/qcow2-zoned.c',
        'z->nr_zones < zone_geometry_nr_zones(&z->geometry)) {', 'false) {'),
    # A refusal that is missing
    Bug('data-beyond-the-zone', 'block/zone-table.c',
        'r->data_end > end || ', ''),
    Bug('any-attribute', 'block/zone-table.c',
        '(r->attributes & ~attributes_in(r->state, known_attributes(t)))) {',
        'false) {'),
    Bug('table-beyond-the-file', 'block/qcow2-zoned.c',
        'bytes > file_length - offset) {', 'false) {'),
    Bug('data-beyond-the-area', 'block/zone-table.c',
        'r->data_end <= r->wp + t->geometry.zrwa_size', 'true'),
    Bug('attributes-without-power', 'block/qcow2-zoned.c',
        'r->attributes = 0;  /* went with the power */', ''),
    Bug('extensions-anywhere', 'block/qcow2-zoned.c',
        'if (be64_to_cpu(ext.descriptor_extension_offset) != ext_offset) {',
        'if (false) {'),
    Bug('extension-of-another-zone', 'block/qcow2-zoned.c',
        'offset / g->zone_size),\n                         g->ext_size, ext, 0);',
        'offset / g->zone_size ^ 1),\n                         g->ext_size, ext, 0);'),
    # A refusal that does not say why
    Bug('wrong-field', 'block/qcow2-zoned.c',
        'ext->reserved2 ? "reserved" :', 'ext->reserved2 ? "length" :'),
    # Hangs
    Bug('endless-table', 'block/qcow2-zoned.c',
        'if (load_record(z, i, &buf[k], live)) {\n                continue;',
        'if (load_record(z, i, &buf[k], live)) {\n'
        '                k -= be64_to_cpu(buf[k].type_and_wp) >> 60 == 13;\n'
        '                continue;'),
]
