/*
 * qemu-img zone: zones of an image that nobody uses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_TOOL_H
#define BLOCK_ZONED_TOOL_H

#include "system/block-backend.h"

/* Opens an image as all commands of qemu-img do; reports why it cannot. */
typedef BlockBackend *ZonedToolOpen(bool image_opts, const char *filename,
                                    const char *fmt, int flags,
                                    bool writethrough, bool quiet,
                                    bool force_share);

/*
 * The command "zone" with its arguments, argv[0] being the name for messages.
 * Called in the main loop, outside of coroutines.  Returns the exit status.
 */
int zoned_tool(int argc, char **argv, ZonedToolOpen *open_image);

#endif
