/*
 * A resource manager as extensions bring it, for the tests of ingest: records
 * without blocks, and records that write a number into a page's header.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "access/xlogutils.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_MODULE_MAGIC;

#define RMGR_ID RM_EXPERIMENTAL_ID
#define RMGR_NOTE 0x00
#define RMGR_STAMP 0x10

PG_FUNCTION_INFO_V1(custom_note);
PG_FUNCTION_INFO_V1(custom_stamp);

static void
custom_redo(XLogReaderState *record)
{
	Buffer		buffer;

	if ((XLogRecGetInfo(record) & ~XLR_INFO_MASK) != RMGR_STAMP)
		return;
	if (XLogReadBufferForRedo(record, 0, &buffer) == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(buffer);

		((PageHeader) page)->pd_prune_xid = *(uint32 *) XLogRecGetData(record);
		PageSetLSN(page, record->EndRecPtr);
		MarkBufferDirty(buffer);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

static void
custom_desc(StringInfo buf, XLogReaderState *record)
{
}

static const char *
custom_identify(uint8 info)
{
	return (info & ~XLR_INFO_MASK) == RMGR_STAMP ? "STAMP" : "NOTE";
}

static RmgrData custom_rmgr = {
	.rm_name = "walhaven test",
	.rm_redo = custom_redo,
	.rm_desc = custom_desc,
	.rm_identify = custom_identify,
};

void		_PG_init(void);

void
_PG_init(void)
{
	RegisterCustomRmgr(RMGR_ID, &custom_rmgr);
}

/* custom_note(text): a record without blocks */
Datum
custom_note(PG_FUNCTION_ARGS)
{
	text	   *note = PG_GETARG_TEXT_PP(0);

	XLogBeginInsert();
	XLogRegisterData(VARDATA_ANY(note), VARSIZE_ANY_EXHDR(note));
	PG_RETURN_INT64(XLogInsert(RMGR_ID, RMGR_NOTE));
}

/* custom_stamp(regclass, number): a record that changes block 0 */
Datum
custom_stamp(PG_FUNCTION_ARGS)
{
	Relation	rel = relation_open(PG_GETARG_OID(0), RowExclusiveLock);
	uint32		number = PG_GETARG_INT32(1);
	Buffer		buffer = ReadBuffer(rel, 0);
	Page		page = BufferGetPage(buffer);
	XLogRecPtr	lsn;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	START_CRIT_SECTION();
	((PageHeader) page)->pd_prune_xid = number;
	MarkBufferDirty(buffer);
	XLogBeginInsert();
	XLogRegisterData((char *) &number, sizeof(number));
	XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
	lsn = XLogInsert(RMGR_ID, RMGR_STAMP);
	PageSetLSN(page, lsn);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
	PG_RETURN_INT64(lsn);
}
