package rest

func (h *Handler) rows03() []operation {
	return []operation{
		{v03, get, pathConversations, "listConversations", "List the application's conversations in order of creation.", bearer, true,
			with(paged, dated), nil, ok, page[conversationsOf03]{}, h.listConversations03},
		{v03, post, pathConversations, "createConversation", "Create a conversation.", bearer, false,
			nil, conversationBody{}, created, conversation03{}, h.createConversation03},
		{v03, get, pathConversation, "getConversation", "Read a conversation, with the asker's membership.", bearer, false,
			nil, nil, ok, conversation03{}, h.getConversation03},
		{v03, put, pathConversation, "updateConversation", "Change what is given of a conversation; properties are replaced as a whole.", bearer, false,
			nil, conversationBody{}, ok, conversation03{}, h.updateConversation03},
		{v03, patch, pathConversation, "patchConversation", "Change what is given of a conversation and of its properties.", bearer, false,
			nil, conversationBody{}, ok, conversation03{}, h.updateConversation03},
		{v03, remove, pathConversation, "deleteConversation", "Delete a conversation; its name is free at once.", bearer, false,
			nil, nil, noContent, nil, h.deleteConversation},
		{v03, get, pathMembers, "listMembers", "List those who are invited or joined, in the order in which they came.", bearer, false,
			paged, nil, ok, page[membersOf03]{}, h.listMembers03},
		{v03, post, pathMembers, "addMember", "Invite or join a user.", bearer, false,
			nil, memberBody{}, created, member03{}, h.addMember03},
		{v03, get, pathMember, "getMember", "Read a member; \"me\" is the asker's own.", bearer, false,
			nil, nil, ok, member03{}, h.getMember03},
		{v03, patch, pathMember, "updateMember", "Accept an invitation, or leave.", bearer, false,
			nil, memberPatch{}, ok, member03{}, h.updateMember03},
		{v03, get, pathEvents, "listEvents", "Read the history.", bearer, false,
			with(paged, eventRange), nil, ok, page[eventsOf03]{}, h.listEvents03},
		{v03, post, pathEvents, "postEvent", "Send an event. What is only relayed (typing, ephemeral) comes back without an id.", bearer, false,
			nil, eventBody{}, created, betaPosted{}, h.betaPostEvent},
		{v03, get, pathEvent, "getEvent", "Read one event.", bearer, false,
			nil, nil, ok, event{}, h.getEvent},
		{v03, remove, pathEvent, "deleteEvent", "Delete an event: its id and type stay, its body goes.", bearer, false,
			[]parameter{fromMember}, nil, ok, betaNothing{}, h.betaDeleteEvent},
	}
}

func (h *Handler) userRows03() []operation {
	return []operation{
		{v03, get, pathUsers, "listUsers", "List the application's users in order of creation.", bearer, true,
			with(paged, byName), nil, ok, page[usersOf]{}, h.listUsers},
		{v03, post, pathUsers, "createUser", "Create a user.", bearer, true,
			nil, userBody{}, created, user{}, h.createUser},
		{v03, get, pathUser, "getUser", "Read a user, by id or name; \"me\" is the asker.", bearer, false,
			nil, nil, ok, user{}, h.getUser},
		{v03, patch, pathUser, "updateUser", "Change what is given of a user.", bearer, true,
			nil, userBody{}, ok, user{}, h.updateUser},
		{v03, remove, pathUser, "deleteUser", "Delete a user; its name is free at once.", bearer, true,
			nil, nil, noContent, nil, h.deleteUser},
		{v03, get, pathUserConversations, "listUserConversations", "List a user's conversations with its membership in each.", bearer, false,
			with(paged, byState), nil, ok, page[conversationsOf03]{}, h.listUserConversations03},
		{v03, get, pathUserSessions, "listUserSessions", "List a user's live sessions.", bearer, false,
			paged, nil, ok, page[sessionsOf]{}, h.pageSessions},
		{v03, put, pathSession, "refreshSession", "Give a live session the token that this request is sent with.", bearer, false,
			nil, nil, ok, refreshed{}, h.refreshSession},
		{v03, get, "/discovery/api", "discoverAPI", "Where the service is: this node.", anyBearer, false,
			nil, nil, ok, map[string]center{}, h.discoverAPI},
		{v03, get, "/discovery/media/{center}", "discoverMedia", "Where its media servers are: there are none.", anyBearer, false,
			nil, nil, ok, []object{}, h.discoverMedia},
	}
}

// absentRows are what the API has and Parley does not, in generation g.
func (h *Handler) absentRows(g *generation) []operation {
	const (
		legs, leg, roomLegs = "/legs", "/legs/{leg}", "/conversations/{conversation}/legs"
		rtc, oneRtc         = "/conversations/{conversation}/rtc", "/conversations/{conversation}/rtc/{rtc}"
		noVoice             = "Voice, which is not available."
	)
	var noLegs any = page[legsOf]{}
	switch g {
	case beta:
		noLegs = betaLegPage{}
	case v02:
		noLegs = page02[legsOf]{}
	}
	voice := func(method, path, id string) operation {
		return operation{g, method, path, id, noVoice, bearer, false, nil, nil, ok, nil, h.noVoice}
	}
	return []operation{
		{g, get, legs, "listLegs", "List calls: there are none.", bearer, false, nil, nil, ok, noLegs, h.noLegs},
		{g, get, roomLegs, "listConversationLegs", "List a conversation's calls: there are none.", bearer, false, nil, nil, ok, noLegs, h.noLegs},
		voice(post, legs, "createLeg"), voice(get, leg, "getLeg"), voice(put, leg, "updateLeg"), voice(remove, leg, "deleteLeg"),
		voice(post, "/knocking", "knock"), voice(remove, "/knocking/{knocking}", "cancelKnock"),
		voice(post, rtc, "createRtc"), voice(post, oneRtc+"/offer", "offerRtc"), voice(post, oneRtc+"/answer", "answerRtc"),
		voice(remove, oneRtc, "deleteRtc"), voice(put, "/conversations/{conversation}/record", "record"),
	}
}

// clientRows are what clients tell of themselves.
func (h *Handler) clientRows() []operation {
	return []operation{
		{v2, post, "/rtc/metrics", "postMetrics", "Tell how a connection fared. The figures are not kept.", anyBearer, false,
			nil, nil, ok, betaNothing{}, h.takeMetrics},
	}
}
