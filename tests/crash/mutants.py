# Ways to break what the block layer promises; each must be noticed.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    old: str            # occurs once in block/*zone*.c and qcow2-cluster.c
    new: str
    workload: str
    variant: str = '4k'


MUTANTS = [
    Mutant('no-flush-below',
           'ret = flush_below_records(bs);', 'ret = 0;', 'append'),
    Mutant('no-data-file-flush',
           'ret = bdrv_flush(s->data_file->bs);', 'ret = 0;', 'append', 'data-file'),
    Mutant('no-caches-below',
           'ret = qemu_in_coroutine() ? write_caches(bs) : qcow2_write_caches(bs);',
           'ret = 0;', 'mixed'),
    Mutant('records-after-flush',
           'ret = write_snapshot(bs, &snap);',
           'drop_snapshot(s->zoned, &snap, false);'
           'take_snapshot(s->zoned, live, &snap);'
           'ret = write_snapshot(bs, &snap);', 'append'),
    Mutant('no-store-in-flush',
           'z->last_stored <= begun && zone_table_is_dirty(z->table)',
           'false', 'append'),
    Mutant('store-that-had-begun',
           '        qatomic_set_u64(&z->stores_begun, number);\n'
           '        ret = qcow2_zoned_store_records(bs, false);\n',
           '        ret = qcow2_zoned_store_records(bs, false);\n'
           '        qatomic_set_u64(&z->stores_begun, number);\n', 'reset'),
    Mutant('forget-failed-store',
           'drop_snapshot(s->zoned, &snap, ret == 0);',
           'drop_snapshot(s->zoned, &snap, true);', 'flusherrors', 'mapped'),
    Mutant('reset-not-stored',
           'ret = qcow2_zoned_co_store(bs);', 'ret = 0;', 'reset'),
    Mutant('reset-not-flushed',
           'int ret = qcow2_zoned_co_store(bs);\n\n'
           '    return ret < 0 ? ret : bdrv_co_flush(bs->file->bs);',
           'return qcow2_zoned_co_store(bs);', 'reset'),
    Mutant('file-not-extended',
           'if (ret == 0 && file_length < host + bytes) {', 'if (false) {', 'mixed'),
    Mutant('lazy-growth-not-flushed',
           '        qcow2_cache_depends_on_flush(s->l2_table_cache);\n    }\n\n'
           '    ret = get_cluster_table(', '    }\n\n    ret = get_cluster_table(',
           'finish', 'lazy'),
    Mutant('reserved-pointer',
           '        .wp = z->wp,\n        .data_end = z->data_end,\n    };\n'
           '    if (state == BLK_ZS_EMPTY) {\n        r->wp',
           '        .wp = QTAILQ_EMPTY(&z->writes) ? z->wp\n'
           '              : QTAILQ_LAST(&z->writes)->end,\n'
           '    };\n    r->data_end = MAX(r->wp, z->data_end);\n'
           '    if (state == BLK_ZS_EMPTY) {\n        r->wp', 'append'),
    Mutant('acknowledged-out-of-order',
           '        w->state = ZW_WRITTEN;\n        acknowledge(t, w->zone);',
           '        z->wp = z->data_end = MAX(z->wp, w->end);\n'
           '        mark_dirty(t, w->zone);\n'
           '        QTAILQ_REMOVE(&z->writes, w, next);\n'
           '        w->state = ZW_ACKNOWLEDGED;', 'append'),
    Mutant('full-zone-not-dirty',
           '        z->was_empty = false;\n        mark_dirty(t, i);\n',
           '        z->was_empty = false;\n', 'append'),
    Mutant('commit-only-changes',
           '        drop_noop_pending(t, m);\n',
           '        drop_noop_pending(t, m);\n        m->commit = false;\n'
           '        for (uint32_t i = m->first; i <= m->last; i++) {\n'
           '            m->commit |= t->zones[i].pending != NOTHING_PENDING;\n'
           '        }\n', 'refinish'),
    Mutant('reset-too-early-for-mapping',
           '    if (allocate) {\n        /* A reset', '    if (false) {\n        /* A reset',
           'snapshots'),
    Mutant('filled-not-finished',
           'ret = finish_stored_records(bs, &snap);', 'ret = 0;', 'fill'),
    Mutant('extension-not-written-yet',
           'ret = qcow2_zoned_write_ext(bs, i, ext);',
           'zone_mgmt_ext_written(qcow2_zone_table(bs), m);'
           'ret = qcow2_zoned_write_ext(bs, i, ext);', 'zns'),
    Mutant('extension-over-another',
           'int ret = store_and_flush(bs);', 'int ret = 0;', 'exterrors', 'mapped'),
    Mutant('area-not-recorded',
           '        mark_dirty(t, i);\n        QTAILQ_REMOVE(&z->writes, w, next);',
           '        if (z->wp == z->data_end) {\n            mark_dirty(t, i);\n'
           '        }\n        QTAILQ_REMOVE(&z->writes, w, next);', 'zns'),
    Mutant('area-with-gaps',
           'if (offset > w->start) {', 'if (false) {', 'zns', 'default'),
    Mutant('area-becomes-empty',
           'return z->wp == start && z->data_end == start &&',
           'return z->wp == start &&', 'zns'),
    Mutant('commit-not-stored',
           'if (ret == 0 && m.commit) {',
           'if (ret == 0 && m.commit && op != BLK_ZO_ZRWA_COMMIT) {', 'zns'),
    Mutant('offline-not-stored',
           'if (ret == 0 && m.commit) {',
           'if (ret == 0 && m.commit && op != BLK_ZO_FORCE_OFFLINE) {', 'zns'),
    Mutant('goto-with-old-zones',
           'return ret < 0 ? ret : clear_table(bs);', 'return ret;', 'goto'),
    Mutant('goto-without-extensions',
           'ext = qcow2_zoned_copy_exts(bs, extra.table_offset, extra.nr_zones, '
           'false);', 'ext = 0;', 'goto'),
    Mutant('overlay-hides-data',
           'm.cow_start.nb_bytes = c->data_end > pos ? MIN(c->data_end - pos, bytes)\n'
           '                                                 : 0;',
           'm.cow_start.nb_bytes = 0;', 'overlay'),
]
