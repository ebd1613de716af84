package rest

import "net/http"

// table is everything that is served. Who reads it knows the API.
func (h *Handler) table() []*operation {
	var all []*operation
	for _, rows := range [][]operation{
		h.conversationRows(), h.userRows(), h.importRows(), h.rows03(), h.userRows03(), h.pageRows02(),
		h.betaRows(v02), h.betaUserRows(v02), h.betaRows(beta), h.betaUserRows(beta), h.listRows(),
		h.absentRows(v1), h.absentRows(v03), h.absentRows(v02), h.absentRows(beta),
		h.pushRows(v1), h.pushRows(v03), h.pushRows(v02), h.pushRows(beta), h.clientRows(), h.applicationRows(),
	} {
		for i := range rows {
			all = append(all, &rows[i])
		}
	}
	return all
}

const (
	get, post, put, patch, remove = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

	ok, created, noContent = http.StatusOK, http.StatusCreated, http.StatusNoContent
)

// Paths that several generations share.
const (
	pathConversations     = "/conversations"
	pathConversation      = "/conversations/{conversation}"
	pathMembers           = "/conversations/{conversation}/members"
	pathMember            = "/conversations/{conversation}/members/{member}"
	pathEvents            = "/conversations/{conversation}/events"
	pathEvent             = "/conversations/{conversation}/events/{event}"
	pathUsers             = "/users"
	pathUser              = "/users/{user}"
	pathUserConversations = "/users/{user}/conversations"
	pathUserSessions      = "/users/{user}/sessions"
	pathSession           = "/sessions/{session}"
)

func (h *Handler) conversationRows() []operation {
	return []operation{
		{v1, get, pathConversations, "listConversations", "List the application's conversations in order of creation.", bearer, true,
			with(paged, dated, []parameter{{"include_custom_data", "boolean", "Custom data is always told; accepted for its clients."}}), nil, ok, page[conversationsOf]{}, h.listConversations},
		{v1, post, pathConversations, "createConversation", "Create a conversation.", bearer, false,
			nil, conversationBody{}, created, conversation{}, h.createConversation},
		{v1, get, pathConversation, "getConversation", "Read a conversation.", bearer, false,
			nil, nil, ok, conversation{}, h.getConversation},
		{v1, put, pathConversation, "updateConversation", "Change what is given of a conversation.", bearer, false,
			nil, conversationBody{}, ok, conversation{}, h.updateConversation},
		{v1, remove, pathConversation, "deleteConversation", "Delete a conversation; its name is free at once.", bearer, false,
			nil, nil, noContent, nil, h.deleteConversation},
		{v1, get, pathMembers, "listMembers", "List those who are invited or joined, in the order in which they came.", bearer, false,
			paged, nil, ok, page[membersOf]{}, h.listMembers},
		{v1, post, pathMembers, "addMember", "Invite or join a user.", bearer, false,
			nil, memberBody{}, created, member{}, h.addMember},
		{v1, get, pathMember, "getMember", "Read a member; \"me\" is the asker's own.", bearer, false,
			nil, nil, ok, member{}, h.getMember},
		{v1, patch, pathMember, "updateMember", "Accept an invitation, or leave.", bearer, false,
			nil, memberPatch{}, ok, member{}, h.updateMember},
		{v1, get, pathEvents, "listEvents", "Read the history. _embedded is the list itself.", bearer, false,
			with(paged, eventRange), nil, ok, page[[]event]{}, h.listEvents},
		{v1, post, pathEvents, "postEvent", "Send an event. What is only relayed (typing, ephemeral) comes back without an id.", bearer, false,
			nil, eventBody{}, created, event{}, h.postEvent},
		{v1, get, pathEvent, "getEvent", "Read one event.", bearer, false,
			nil, nil, ok, event{}, h.getEvent},
		{v1, remove, pathEvent, "deleteEvent", "Delete an event: its id and type stay, its body goes.", bearer, false,
			[]parameter{fromMember}, nil, noContent, nil, h.deleteEvent},
	}
}

func (h *Handler) userRows() []operation {
	return []operation{
		{v1, get, pathUsers, "listUsers", "List the application's users in order of creation.", bearer, true,
			with(paged, byName), nil, ok, page[usersOf]{}, h.listUsers},
		{v1, post, pathUsers, "createUser", "Create a user.", bearer, true,
			nil, userBody{}, created, user{}, h.createUser},
		{v1, get, pathUser, "getUser", "Read a user; \"me\" is the asker.", bearer, false,
			nil, nil, ok, user{}, h.getUser},
		{v1, patch, pathUser, "updateUser", "Change what is given of a user.", bearer, true,
			nil, userBody{}, ok, user{}, h.updateUser},
		{v1, remove, pathUser, "deleteUser", "Delete a user; its name is free at once.", bearer, true,
			nil, nil, noContent, nil, h.deleteUser},
		{v1, get, pathUserConversations, "listUserConversations", "List a user's conversations with its membership in each.", bearer, false,
			with(paged, byState), nil, ok, page[conversationsOf]{}, h.listUserConversations},
		{v1, get, pathUserSessions, "listUserSessions", "List a user's live sessions.", bearer, false,
			paged, nil, ok, page[sessionsOf]{}, h.pageSessions},
	}
}

func (h *Handler) applicationRows() []operation {
	const many, one, oldMany, oldOne = "/v2/applications", "/v2/applications/{application}", "/v1/applications", "/v1/applications/{application}"
	numbered := []parameter{paged[0], {"page", "integer", "From 1."}}
	oldNumbered := []parameter{paged[0], {"page_index", "integer", "From 1."}}
	return []operation{
		{operators, get, many, "listApplications", "List the applications.", basic, false, numbered, nil, ok, applicationPage{}, h.listApplications},
		{operators, post, many, "createApplication", "Create an application; the private key is told here and never again.", basic, false,
			nil, applicationBody{}, created, application{}, h.createApplication},
		{operators, get, one, "getApplication", "Read an application.", basic, false, nil, nil, ok, application{}, h.getApplication},
		{operators, put, one, "updateApplication", "Change an application, or replace its public key.", basic, false,
			nil, applicationBody{}, ok, application{}, h.updateApplication},
		{operators, remove, one, "deleteApplication", "Delete an application; its tokens end at once.", basic, false, nil, nil, noContent, nil, h.deleteApplication},
		{operators, post, one + "/webhook-secret", "rotateWebhookSecret", "Replace the secret that signs what is sent to webhooks; the one before signs too for a day.", basic, false,
			nil, nil, ok, webhookSecret{}, h.rotateWebhookSecret},
		{operators, get, oldMany, "listApplicationsV1", "List the applications (first generation).", keyInInput, false,
			oldNumbered, nil, ok, oldApplicationPage{}, h.oldListApplications},
		{operators, post, oldMany, "createApplicationV1", "Create an application (first generation).", keyInInput, false,
			nil, oldApplicationBody{}, created, oldApplication{}, h.oldCreateApplication},
		{operators, get, oldOne, "getApplicationV1", "Read an application (first generation).", keyInInput, false, nil, nil, ok, oldApplication{}, h.oldGetApplication},
		{operators, put, oldOne, "updateApplicationV1", "Change an application (first generation).", keyInInput, false,
			nil, oldApplicationBody{}, ok, oldApplication{}, h.oldUpdateApplication},
		{operators, remove, oldOne, "deleteApplicationV1", "Delete an application (first generation).", keyInInput, false, nil, nil, noContent, nil, h.deleteApplication},
	}
}
