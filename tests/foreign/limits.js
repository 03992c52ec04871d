// Reads the limits with jsforce; prints what it made of the body and of the header.
const jsforce = require("jsforce");

const connection = new jsforce.Connection({
  instanceUrl: process.env.INSTANCE_URL,
  accessToken: process.env.ACCESS_TOKEN,
  version: "64.0",
});

(async () => {
  const limits = await connection.limits();
  const accounts = await connection.sobject("Account").create([{ Name: "a" }, { Name: "b" }]);
  const found = await connection.query("SELECT Id, Name FROM Account ORDER BY Name");
  console.log(JSON.stringify({
    daily: limits.DailyApiRequests,
    usage: connection.limitInfo.apiUsage,
    created: accounts.map((result) => result.success),
    names: found.records.map((record) => record.Name),
  }));
})().catch((error) => {
  console.error(JSON.stringify({ name: error.name, code: error.errorCode, message: error.message }));
  process.exit(1);
});
