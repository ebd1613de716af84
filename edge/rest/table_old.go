package rest

// The first two generations share their calls for single things; only their lists differ.

func (h *Handler) betaRows(g *generation) []operation {
	return []operation{
		{g, post, pathConversations, "createConversation", "Create a conversation.", bearer, false,
			nil, conversationBody{}, ok, betaCreated{}, h.betaCreateConversation},
		{g, get, pathConversation, "getConversation", "Read a conversation, by id or name, with all its members.", bearer, false,
			nil, nil, ok, betaConversation{}, h.betaGetConversation},
		{g, put, pathConversation, "updateConversation", "Change what is given of a conversation.", bearer, false,
			nil, conversationBody{}, ok, betaCreated{}, h.betaUpdateConversation},
		{g, remove, pathConversation, "deleteConversation", "Delete a conversation.", bearer, false,
			nil, nil, ok, betaNothing{}, h.betaDeleteConversation},
		{g, post, pathMembers, "addMember", "Invite or join a user.", bearer, false,
			nil, betaMemberBody{}, created, betaMember{}, h.betaAddMember},
		{g, get, pathMember, "getMember", "Read a member.", bearer, false,
			nil, nil, ok, betaMember{}, h.betaGetMember},
		{g, put, pathMember, "updateMember", "Accept an invitation, or leave.", bearer, false,
			nil, betaMemberPatch{}, ok, betaMember{}, h.betaUpdateMember},
		{g, remove, pathMember, "deleteMember", "Leave, or remove a member.", bearer, false,
			[]parameter{fromMember, {"reason_code", "string", "Why, for programs."}, {"reason_text", "string", "Why, for people."}}, nil, ok, betaNothing{}, h.betaDeleteMember},
		{g, post, pathEvents, "postEvent", "Send an event.", bearer, false,
			nil, eventBody{}, created, betaPosted{}, h.betaPostEvent},
		{g, get, pathEvent, "getEvent", "Read one event.", bearer, false,
			nil, nil, ok, betaEvent{}, h.betaGetEvent},
		{g, remove, pathEvent, "deleteEvent", "Delete an event.", bearer, false,
			[]parameter{fromMember}, nil, ok, betaNothing{}, h.betaDeleteEvent},
	}
}

func (h *Handler) betaUserRows(g *generation) []operation {
	return []operation{
		{g, post, pathUsers, "createUser", "Create a user.", bearer, true,
			nil, userBody{}, ok, betaCreated{}, h.betaCreateUser},
		{g, get, pathUser, "getUser", "Read a user.", bearer, false,
			nil, nil, ok, betaUser{}, h.betaGetUser},
		{g, put, pathUser, "updateUser", "Change what is given of a user.", bearer, true,
			nil, userBody{}, ok, betaCreated{}, h.betaUpdateUser},
		{g, remove, pathUser, "deleteUser", "Delete a user.", bearer, true,
			nil, nil, ok, betaNothing{}, h.betaDeleteUser},
	}
}

// listRows are the lists of the first generation.
func (h *Handler) listRows() []operation {
	return []operation{
		{beta, get, pathConversations, "listConversations", "List the application's conversations.", bearer, true,
			with([]parameter{paged[0], paged[1], {"record_index", "integer", "How many to skip."}}, dated), nil, ok, betaConversations{}, h.betaListConversations},
		{beta, get, pathMembers, "listMembers", "List all members, those who left included.", bearer, false,
			nil, nil, ok, []betaMemberItem{}, h.betaListMembers},
		{beta, get, pathEvents, "listEvents", "Read the history, or a range of it.", bearer, false,
			eventRange, nil, ok, []betaEvent{}, h.betaListEvents},
		{beta, get, pathUsers, "listUsers", "List the application's first 100 users.", bearer, true,
			nil, nil, ok, []betaUserItem{}, h.betaListUsers},
		{beta, get, pathUserConversations, "listUserConversations", "List a user's first 100 conversations.", bearer, false,
			byState, nil, ok, []betaUserConversation{}, h.betaListUserConversations},
	}
}

// pageRows02 are the lists of the second generation, and how its clients refresh a session.
func (h *Handler) pageRows02() []operation {
	return []operation{
		{v02, get, pathConversations, "listConversations", "List the application's conversations in order of creation.", bearer, true,
			with(paged, dated), nil, ok, page02[conversationsOf02]{}, h.listConversations02},
		{v02, get, pathMembers, "listMembers", "List those who are invited or joined, in the order in which they came.", bearer, false,
			paged, nil, ok, page02[membersOf02]{}, h.listMembers02},
		{v02, get, pathEvents, "listEvents", "Read the history.", bearer, false,
			with(paged, eventRange), nil, ok, page02[eventsOf]{}, h.listEvents02},
		{v02, get, pathUsers, "listUsers", "List the application's users in order of creation.", bearer, true,
			paged, nil, ok, page02[usersOf02]{}, h.listUsers02},
		{v02, get, pathUserConversations, "listUserConversations", "List a user's conversations with its membership in each.", bearer, false,
			with(paged, byState), nil, ok, page02[userConversationsOf02]{}, h.listUserConversations02},
		{v02, put, pathSession, "refreshSession", "Give a live session the token that this request is sent with.", bearer, false,
			nil, nil, ok, refreshed{}, h.refreshSession},
	}
}
