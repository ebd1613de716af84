package version

// Feature names one thing that nodes say or write: a member of a closed set of package node.v1, by
// message or enum and name ("Command.order", "Kind.KIND_USER"), or a kind of log entry, of item, of
// stream between stores ("entry.writes") or of name.
type Feature string

// DeviceNames is that a grain of the kind of names keeps whose device has a token.
const DeviceNames Feature = "name.device"

// Table says since which version of the cluster each feature is used.
type Table map[Feature]Number

// Features is the table of this build. Whoever adds a command, a query, a fan-out, a kind of entity or
// of order, or a kind of entry, adds it to the newest version here, or to one version more when the newest
// has been released; a test finds what is missing.
func Features() Table {
	t := Table{}
	for since, features := range map[Number][]Feature{1: first(), 2: {"Command.advance_cursors", DeviceNames}} {
		for _, f := range features {
			t[f] = since
		}
	}
	return t
}

// first is what the first version of the cluster speaks.
func first() []Feature {
	return []Feature{
		"entry.writes", "item.raft", "item.quiesce", "item.leaving", "item.removed", "stream.batches", "stream.snapshot",

		"Command.create_conversation", "Command.update_conversation", "Command.delete_conversation", "Command.add_member",
		"Command.update_member", "Command.post_event", "Command.delete_event", "Command.advance_cursor", "Command.probe",
		"Command.user_changed", "Command.purge_conversation", "Command.import_conversation", "Command.import_members",
		"Command.import_events", "Command.finish_import", "Command.announce_members",
		"Command.import_user", "Command.create_user", "Command.update_user", "Command.delete_user",
		"Command.index_membership", "Command.propagate_user", "Command.put_device", "Command.delete_device", "Command.mute_push",
		"Command.reserve_name", "Command.confirm_name", "Command.release_name", "Command.put_application",
		"Command.delete_application", "Command.put_credential", "Command.put_settings", "Command.put_push_credential",
		"Command.delete_push_credential", "Command.note_push", "Command.hold_blob", "Command.put_chunk", "Command.seal_blob",
		"Command.confirm_hold", "Command.release_hold", "Command.purge_object", "Command.create_image", "Command.delete_image",
		"Command.found_placement", "Command.put_store", "Command.set_store", "Command.put_shard", "Command.announce",
		"Command.order", "Command.raise_version", "Command.recover_placement", "Command.deliver_event", "Command.redeliver",

		"Query.get_conversation", "Query.get_member", "Query.list_members", "Query.get_event", "Query.list_events",
		"Query.get_user", "Query.list_memberships", "Query.get_devices", "Query.get_name", "Query.get_application",
		"Query.list_applications", "Query.get_credential", "Query.get_settings", "Query.list_conversations", "Query.list_users",
		"Query.list_dead_letters", "Query.get_blob", "Query.get_chunk", "Query.get_image", "Query.observe", "Query.get_public",
		"Query.list_sessions", "Query.list_live", "Query.renew_session",

		"Fanout.event", "Fanout.soft", "Fanout.cursor", "Fanout.membership", "Fanout.deleted",

		"Kind.KIND_CONVERSATION", "Kind.KIND_USER", "Kind.KIND_NAME", "Kind.KIND_APPLICATION", "Kind.KIND_SHARD",
		"Kind.KIND_BLOB", "Kind.KIND_IMAGE", "Kind.KIND_PLACEMENT", "Kind.KIND_WEBHOOK", "Kind.KIND_PUSH",

		"OrderKind.ORDER_KIND_MAKE", "OrderKind.ORDER_KIND_CONFIGURE", "OrderKind.ORDER_KIND_TRANSFER",
		"OrderKind.ORDER_KIND_DESTROY", "OrderKind.ORDER_KIND_REBALANCE",
	}
}

func (t Table) newest() Number {
	newest := Oldest
	for _, n := range t {
		newest = max(newest, n)
	}
	return newest
}
