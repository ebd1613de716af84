// Shows /openapi.json with everything switched off that would ask another server.
Scalar.createApiReference("#viewer", {
  url: "/openapi.json",
  proxyUrl: "",
  telemetry: false,
  withDefaultFonts: false,
  agent: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
  metaData: { title: "Parley API" },
});
