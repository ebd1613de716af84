package rest_test

import "maps"

// contract says what each role gets from each operation, for a conversation in which "member" is
// joined and has said something, and about the user "member" where a user is asked for.
var contract = merged(map[string][6]int{
	"v1.listConversations":     {200, 403, 403, 403, 403, 200},
	"v1.createConversation":    {201, 201, 201, 201, 201, 201},
	"v1.getConversation":       {404, 404, 200, 200, 200, 200},
	"v1.updateConversation":    {404, 404, 403, 403, 200, 200},
	"v1.deleteConversation":    {404, 404, 403, 403, 204, 204},
	"v1.listMembers":           {404, 404, 200, 200, 200, 200},
	"v1.addMember":             {404, 201, 201, 400, 201, 201},
	"v1.getMember":             {404, 404, 200, 200, 200, 200},
	"v1.updateMember":          {404, 404, 403, 200, 403, 200},
	"v1.listEvents":            {404, 404, 200, 200, 200, 200},
	"v1.postEvent":             {404, 404, 403, 201, 403, 201},
	"v1.getEvent":              {404, 404, 200, 200, 200, 200},
	"v1.deleteEvent":           {404, 404, 403, 204, 403, 204},
	"v1.listUsers":             {200, 403, 403, 403, 403, 200},
	"v1.createUser":            {201, 403, 403, 403, 403, 201},
	"v1.getUser":               {404, 200, 200, 200, 200, 200},
	"v1.updateUser":            {404, 403, 403, 403, 403, 200},
	"v1.deleteUser":            {404, 403, 403, 403, 403, 204},
	"v1.listUserConversations": {404, 403, 403, 200, 403, 200},
	"v1.listUserSessions":      {404, 403, 403, 200, 403, 200},

	// What is there already is not imported over; another application has its own ids.
	"v1.importUser":         {200, 403, 403, 403, 403, 409},
	"v1.importConversation": {200, 403, 403, 403, 403, 409},
	"v1.importMembers":      {404, 403, 403, 403, 403, 409},
	"v1.importEvents":       {404, 403, 403, 403, 403, 409},
	"v1.finishImport":       {404, 403, 403, 403, 403, 409},

	"v0.3.listConversations":     {200, 403, 403, 403, 403, 200},
	"v0.3.createConversation":    {201, 201, 201, 201, 201, 201},
	"v0.3.getConversation":       {404, 404, 200, 200, 200, 200},
	"v0.3.updateConversation":    {404, 404, 403, 403, 200, 200},
	"v0.3.deleteConversation":    {404, 404, 403, 403, 204, 204},
	"v0.3.listMembers":           {404, 404, 200, 200, 200, 200},
	"v0.3.addMember":             {404, 201, 201, 400, 201, 201},
	"v0.3.getMember":             {404, 404, 200, 200, 200, 200},
	"v0.3.updateMember":          {404, 404, 403, 200, 403, 200},
	"v0.3.listEvents":            {404, 404, 200, 200, 200, 200},
	"v0.3.postEvent":             {404, 404, 403, 201, 403, 201},
	"v0.3.getEvent":              {404, 404, 200, 200, 200, 200},
	"v0.3.deleteEvent":           {404, 404, 403, 200, 403, 200},
	"v0.3.listUsers":             {200, 403, 403, 403, 403, 200},
	"v0.3.createUser":            {201, 403, 403, 403, 403, 201},
	"v0.3.getUser":               {404, 200, 200, 200, 200, 200},
	"v0.3.updateUser":            {404, 403, 403, 403, 403, 200},
	"v0.3.deleteUser":            {404, 403, 403, 403, 403, 204},
	"v0.3.listUserConversations": {404, 403, 403, 200, 403, 200},
	"v0.3.listUserSessions":      {404, 403, 403, 200, 403, 200},
	"v0.3.patchConversation":     {404, 404, 403, 403, 200, 200},
	"v0.3.refreshSession":        {404, 404, 404, 200, 404, 404},
	"v0.3.discoverAPI":           {200, 200, 200, 200, 200, 200},
	"v0.3.discoverMedia":         {200, 200, 200, 200, 200, 200},

	"v0.2.listConversations":     {200, 403, 403, 403, 403, 200},
	"v0.2.createConversation":    {200, 200, 200, 200, 200, 200},
	"v0.2.getConversation":       {404, 404, 200, 200, 200, 200},
	"v0.2.updateConversation":    {404, 404, 403, 403, 200, 200},
	"v0.2.deleteConversation":    {404, 404, 403, 403, 200, 200},
	"v0.2.listMembers":           {404, 404, 200, 200, 200, 200},
	"v0.2.addMember":             {404, 201, 201, 400, 201, 201},
	"v0.2.getMember":             {404, 404, 200, 200, 200, 200},
	"v0.2.updateMember":          {404, 404, 403, 200, 403, 200},
	"v0.2.deleteMember":          {404, 404, 403, 200, 403, 200},
	"v0.2.listEvents":            {404, 404, 200, 200, 200, 200},
	"v0.2.postEvent":             {404, 404, 403, 201, 403, 201},
	"v0.2.getEvent":              {404, 404, 200, 200, 200, 200},
	"v0.2.deleteEvent":           {404, 404, 403, 200, 403, 200},
	"v0.2.listUsers":             {200, 403, 403, 403, 403, 200},
	"v0.2.createUser":            {200, 403, 403, 403, 403, 200},
	"v0.2.getUser":               {404, 200, 200, 200, 200, 200},
	"v0.2.updateUser":            {404, 403, 403, 403, 403, 200},
	"v0.2.deleteUser":            {404, 403, 403, 403, 403, 200},
	"v0.2.listUserConversations": {404, 403, 403, 200, 403, 200},
	"v0.2.refreshSession":        {404, 404, 404, 200, 404, 404},

	"beta.listConversations":     {200, 403, 403, 403, 403, 200},
	"beta.createConversation":    {200, 200, 200, 200, 200, 200},
	"beta.getConversation":       {404, 404, 200, 200, 200, 200},
	"beta.updateConversation":    {404, 404, 403, 403, 200, 200},
	"beta.deleteConversation":    {404, 404, 403, 403, 200, 200},
	"beta.listMembers":           {404, 404, 200, 200, 200, 200},
	"beta.addMember":             {404, 201, 201, 400, 201, 201},
	"beta.getMember":             {404, 404, 200, 200, 200, 200},
	"beta.updateMember":          {404, 404, 403, 200, 403, 200},
	"beta.deleteMember":          {404, 404, 403, 200, 403, 200},
	"beta.listEvents":            {404, 404, 200, 200, 200, 200},
	"beta.postEvent":             {404, 404, 403, 201, 403, 201},
	"beta.getEvent":              {404, 404, 200, 200, 200, 200},
	"beta.deleteEvent":           {404, 404, 403, 200, 403, 200},
	"beta.listUsers":             {200, 403, 403, 403, 403, 200},
	"beta.createUser":            {200, 403, 403, 403, 403, 200},
	"beta.getUser":               {404, 200, 200, 200, 200, 200},
	"beta.updateUser":            {404, 403, 403, 403, 403, 200},
	"beta.deleteUser":            {404, 403, 403, 403, 403, 200},
	"beta.listUserConversations": {404, 403, 403, 200, 403, 200},

	"v2.postMetrics": {200, 200, 200, 200, 200, 200},

	// Tokens are no proof for operators.
	"operator.listApplications":    {401, 401, 401, 401, 401, 401},
	"operator.createApplication":   {401, 401, 401, 401, 401, 401},
	"operator.getApplication":      {401, 401, 401, 401, 401, 401},
	"operator.updateApplication":   {401, 401, 401, 401, 401, 401},
	"operator.rotateWebhookSecret": {401, 401, 401, 401, 401, 401},
	"operator.deleteApplication":   {401, 401, 401, 401, 401, 401},
	"operator.listApplicationsV1":  {401, 401, 401, 401, 401, 401},
	"operator.createApplicationV1": {401, 401, 401, 401, 401, 401},
	"operator.getApplicationV1":    {401, 401, 401, 401, 401, 401},
	"operator.updateApplicationV1": {401, 401, 401, 401, 401, 401},
	"operator.deleteApplicationV1": {401, 401, 401, 401, 401, 401},
}, absentRows(), pushRows())

// absent is the answer of what Parley does not have: the same to everybody who brings a good token.
var absent = [6]int{501, 501, 501, 501, 501, 501}

// absentRows are the same in four generations.
func absentRows() map[string][6]int {
	rows := map[string][6]int{}
	for _, generation := range []string{"v1", "v0.3", "v0.2", "beta"} {
		for _, id := range []string{
			"createLeg", "getLeg", "updateLeg", "deleteLeg", "knock", "cancelKnock", "createRtc", "offerRtc", "answerRtc", "deleteRtc", "record",
		} {
			rows[generation+"."+id] = absent
		}
		for _, id := range []string{"listLegs", "listConversationLegs"} {
			rows[generation+"."+id] = [6]int{200, 200, 200, 200, 200, 200}
		}
	}
	return rows
}

// pushRows are the same in four generations but for the status of deletions. A device is a user's; a
// credential is the administrator's, and is read before it has been uploaded and after it was deleted.
func pushRows() map[string][6]int {
	rows := map[string][6]int{"v1.listDevices": {403, 200, 200, 200, 200, 403}}
	for generation, gone := range map[string]int{"v1": 204, "v0.3": 204, "v0.2": 200, "beta": 200} {
		rows[generation+".putDevice"] = [6]int{403, 200, 200, 200, 200, 403}
		rows[generation+".deleteDevice"] = [6]int{403, gone, gone, gone, gone, 403}
		rows[generation+".getPushToken"] = [6]int{404, 403, 403, 403, 403, 404}
		rows[generation+".putPushToken"] = [6]int{404, 403, 403, 403, 403, 200}
		rows[generation+".deletePushToken"] = [6]int{404, 403, 403, 403, 403, gone}
	}
	return rows
}

func merged(a map[string][6]int, more ...map[string][6]int) map[string][6]int {
	for _, b := range more {
		maps.Copy(a, b)
	}
	return a
}
