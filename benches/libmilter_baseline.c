/*
 * The yardstick of benches/daemon.rs: a frugal libmilter program that looks at every header field name, adds one
 * field and deletes one. It declines what it does not use, and lets the mail server wait for a reply only at the end.
 *
 * cc -O2 -o libmilter_baseline libmilter_baseline.c -lmilter -lpthread
 * libmilter_baseline SOCKET     SOCKET in libmilter's notation: unix:/path or inet:port@address
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <libmilter/mfapi.h>

static const char MARKER[] = "X-Conbool-";

struct message {
	unsigned markers;
	unsigned long body;
};

static sfsistat
negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long u1, unsigned long u2,
    unsigned long *want_actions, unsigned long *want_steps, unsigned long *w1, unsigned long *w2)
{
	const unsigned long unused = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NODATA |
	    SMFIP_NOEOH | SMFIP_NOUNKNOWN;
	const unsigned long unanswered = SMFIP_NR_HDR | SMFIP_NR_BODY;

	(void)ctx, (void)u1, (void)u2;
	*want_actions = actions & (SMFIF_ADDHDRS | SMFIF_CHGHDRS);
	*want_steps = steps & (unused | unanswered | SMFIP_HDR_LEADSPC);
	*w1 = *w2 = 0;
	return SMFIS_CONTINUE;
}

static struct message *
message(SMFICTX *ctx)
{
	struct message *m = smfi_getpriv(ctx);

	if (m == NULL && (m = calloc(1, sizeof *m)) != NULL)
		smfi_setpriv(ctx, m);
	return m;
}

static void
forget(SMFICTX *ctx)
{
	free(smfi_getpriv(ctx));
	smfi_setpriv(ctx, NULL);
}

static sfsistat
header(SMFICTX *ctx, char *name, char *value)
{
	struct message *m = message(ctx);

	(void)value;
	if (m != NULL && strncasecmp(name, MARKER, sizeof MARKER - 1) == 0)
		m->markers++;
	return SMFIS_NOREPLY;
}

static sfsistat
body(SMFICTX *ctx, unsigned char *chunk, size_t size)
{
	struct message *m = message(ctx);

	(void)chunk;
	if (m != NULL)
		m->body += size;
	return SMFIS_NOREPLY;
}

static sfsistat
end_of_message(SMFICTX *ctx)
{
	if (smfi_addheader(ctx, "X-Baseline", " seen") == MI_FAILURE ||
	    smfi_chgheader(ctx, "X-Conbool-Released", 1, NULL) == MI_FAILURE)
		return SMFIS_TEMPFAIL;
	forget(ctx);
	return SMFIS_CONTINUE;
}

static sfsistat
aborted(SMFICTX *ctx)
{
	forget(ctx);
	return SMFIS_CONTINUE;
}

static struct smfiDesc filter = {
	.xxfi_name = "baseline",
	.xxfi_version = SMFI_VERSION,
	.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS,
	.xxfi_header = header,
	.xxfi_body = body,
	.xxfi_eom = end_of_message,
	.xxfi_abort = aborted,
	.xxfi_close = aborted,
	.xxfi_negotiate = negotiate,
};

int
main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s SOCKET\n", argv[0]);
		return 2;
	}
	if (smfi_setconn(argv[1]) == MI_FAILURE || smfi_setbacklog(1024) == MI_FAILURE ||
	    smfi_register(filter) == MI_FAILURE)
		return 1;
	return smfi_main();
}
